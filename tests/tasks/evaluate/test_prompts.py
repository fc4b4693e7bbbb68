from __future__ import annotations

from tasks.evaluate.fields import find_form
from tasks.evaluate.prompts import base_prompt, choose_examples, describe
from tests.tasks.evaluate.answer_rows import row, tickets

TRAINING = tickets(30)
FORM = find_form([r.answer for r in TRAINING])


def test_the_description_names_keys_in_order_and_allowed_values() -> None:
    text = describe(FORM)
    assert '"intent": one of app, billing, fault' in text
    assert '"reply": free text' in text
    assert text.index('"intent"') < text.index('"team"') < text.index('"reply"')
    assert "- yes" in describe(find_form(["yes", "no"] * 10))
    assert describe(find_form([f"text {i}" for i in range(20)])) == ""


def test_examples_differ_and_do_not_depend_on_the_order_of_rows() -> None:
    chosen = choose_examples(TRAINING, FORM, 3)
    assert len({r.answer.split(",")[0] for r in chosen}) == 3
    assert choose_examples(TRAINING[::-1], FORM, 3) == chosen
    assert choose_examples(TRAINING, FORM, 0) == ()
    assert len(choose_examples(TRAINING[:2], FORM, 8)) == 2


def test_the_constant_part_stands_in_front() -> None:
    examples = choose_examples(TRAINING, FORM, 2)
    first, second = (base_prompt(r, FORM, examples) for r in TRAINING[:2])
    assert first[:-1] == second[:-1]
    assert [m.role for m in first] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert first[-1] == TRAINING[0].prompt[-1]
    assert TRAINING[0].answer not in [m.content for m in base_prompt(TRAINING[0], FORM, [])]


def test_a_rows_own_system_message_and_earlier_turns_are_kept() -> None:
    multi = row("and now?", TRAINING[0].answer, earlier=[("system", "be brief"), ("user", "hi"), ("assistant", "yes?")])
    prompt = base_prompt(multi, FORM, [])
    assert prompt[0].content == f"{describe(FORM)}\n\nbe brief"
    assert [m.content for m in prompt[1:]] == ["hi", "yes?", "and now?"]


def test_free_text_without_examples_is_asked_plainly() -> None:
    form = find_form([f"text {i}" for i in range(20)])
    assert base_prompt(row("hello", "text 1"), form, []) == row("hello", "text 1").prompt

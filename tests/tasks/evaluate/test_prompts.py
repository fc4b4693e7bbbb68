from __future__ import annotations

from tasks.evaluate.fields import find_form
from tasks.evaluate.prompts import Fits, base_prompt, base_prompts, choose_examples, describe
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


def test_examples_that_leave_no_room_are_not_shown_and_it_is_said() -> None:
    examples = choose_examples(TRAINING, FORM, 2)
    short, longer = TRAINING[0], row("and " * 40, TRAINING[0].answer)

    def fits(limit: int) -> Fits:
        return lambda prompt, _tools: sum(len(m.content) for m in prompt) <= limit

    full = [base_prompt(r, FORM, examples) for r in (short, longer)]
    lengths = [sum(len(m.content) for m in prompt) for prompt in full]
    assert base_prompts((short, longer), FORM, examples, fits(lengths[1])) == (full, ())
    prompts, (note,) = base_prompts((short, longer), FORM, examples, fits(lengths[1] - 1))
    assert prompts == [full[0], base_prompt(longer, FORM, examples[:1])]
    assert note.startswith("1 of 2 rows leave no room")
    assert note.endswith("shown at least 1.")
    prompts, notes = base_prompts((short, longer), FORM, examples, fits(len(describe(FORM)) + 60))
    assert prompts == [base_prompt(r, FORM, ()) for r in (short, longer)]
    assert ["at least 0" in notes[0], notes[1].startswith("1 of 2 rows do not fit")] == [True, True]
    assert base_prompts((short,), FORM, (), fits(0))[1][0].startswith("1 of 1 rows do not fit")

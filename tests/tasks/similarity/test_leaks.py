from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import leaks as bench
from bench.leak_corpus import make_corpus
from tasks.similarity.leak_features import Frequencies, features, load, save, split_words
from tasks.similarity.leaks import LeakIndex, build_index, find_leaks

LONG = (
    "I rented the blue boat on Monday, and when I came back the office was closed. Nobody took the key from me. "
    "Please tell me by mail whether I have to pay for a second day!"
)


def leaks(
    training: list[str],
    held: list[str],
    threshold: float = 0.85,
    chance: float = 0.004,
    answers: str = "",
    parts: int = 1,
) -> dict[int, tuple[int, float]]:
    """Number of a training text → (number of the held-out text, share)."""
    asked, parted = features(training, [answers or str(i) for i in range(len(training))]), []
    size = -(-len(held) // parts)
    for start in range(0, len(held), max(1, size)):
        part = held[start : start + size]
        parted.append(features(part, [answers or f"h{start + i}" for i in range(len(part))]))
    frequencies = Frequencies()
    for one in (asked, *parted):
        frequencies.add(one)
    index = build_index(parted, frequencies.bits(), threshold, chance)
    return {leak.row: (leak.held, round(leak.share, 3)) for leak in find_leaks(asked, index)}


def words_of(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices("abcdefghijklmnop", k=6)) for _ in range(count)]


@pytest.mark.parametrize(
    "copy",
    [
        LONG,
        LONG.upper(),
        LONG.replace(".", "").replace(",", " -"),
        "Nobody took the key from me. Please tell me by mail whether I have to pay for a second day! I rented the blue "
        "boat on Monday, and when I came back the office was closed.",
        LONG.replace("blue", "grey").replace("closed", "shut").replace("mail", "post"),
        LONG.replace("Monday", "Mónday"),
        LONG.replace("a", "ａ"),
    ],
)
def test_copies_of_a_long_text(copy: str) -> None:
    assert set(leaks([copy, "I rented a green car"], ["something else", LONG])) == {0}


@pytest.mark.parametrize(
    "copy",
    ["Why is my card blue?", "why is my card blue", "Blue card: why is my", "why is my card red", "why my card blue"],
)
def test_copies_of_a_short_text(copy: str) -> None:
    found = leaks([copy, "why was his boat blue", *words_of(1, 20)], ["Why is my card blue?", *words_of(2, 20)])
    assert {row: held for row, (held, _) in found.items()} == {0: 0}


def test_scripts_without_spaces_and_texts_without_words() -> None:
    text = "我昨天在银行开了一个新账户，但是还没有收到我的银行卡。请问需要多长时间？"
    found = leaks([text.replace("昨天", "今天"), "+++", "😀", ""], ["---", text, "+++"])
    assert {row: held for row, (held, _) in found.items()} == {0: 1, 1: 2}
    assert split_words("Don’t re-enter 3.5 кафе́!") == ["dont", "re", "enter", "3", "5", "кафе"]


def test_the_threshold_is_the_share_of_words() -> None:
    text = words_of(3, 40)
    for changed in range(0, 20, 2):
        copy = " ".join([*words_of(changed + 10, changed), *text[changed:]])
        found = leaks([copy], [" ".join(text)], threshold=0.8)
        assert found == ({0: (0, round(1 - changed / 40, 3))} if changed <= 8 else {})
    assert leaks([" ".join([*text, "more"])], [" ".join(text)], threshold=1) == {}
    assert leaks([" ".join(text).upper()], [" ".join(text)], threshold=1) == {0: (0, 1.0)}


def test_a_long_text_is_compared_on_a_sample_of_its_words() -> None:
    text = words_of(4, 2000)
    near, far = [*words_of(5, 200), *text[200:]], [*words_of(6, 800), *text[800:]]
    assert set(leaks([" ".join(near), " ".join(far), " ".join(text[:300])], [" ".join(text)])) == {0}


def test_in_a_narrow_domain_short_questions_that_differ_by_a_word_are_no_leaks() -> None:
    names = words_of(7, 80)
    held = [f"where is my {name} now" for name in names[:40]]
    clean = [f"where is my {name} now" for name in names[40:]]
    assert leaks(clean, held) == {}
    assert set(leaks(clean, held, chance=1)) == set(range(40))
    assert set(leaks([*clean, f"did my {names[3]} now"], [*held, f"did any {names[3]} now"])) >= {40}


def test_the_same_answer_is_evidence() -> None:
    names = words_of(8, 60)
    held = [f"where is my {name} now" for name in names[:30]]
    assert leaks([f"where is my {names[40]} now"], held) == {}
    asked = features([f"where is my {names[40]} now", *names], ["the answer to number 7", *names])
    kept = features(held, [f"the answer to number {i}" for i in range(30)])
    frequencies = Frequencies()
    frequencies.add(asked)
    frequencies.add(kept)
    assert [leak.row for leak in find_leaks(asked, build_index([kept], frequencies.bits(), 0.85, 0.004))] == [0]


def test_parts_and_files_change_nothing(tmp_path: Path) -> None:
    corpus = make_corpus(2, held=120, clean=300, planted=60)
    training = [*corpus.clean, *(copy.text for copy in corpus.planted)]
    assert leaks(training, corpus.held) == leaks(training, corpus.held, parts=7)
    asked = features(training, training)
    save(tmp_path / "a" / "f.npz", asked)
    assert all((a == b).all() for a, b in zip(load(tmp_path / "a" / "f.npz"), asked, strict=True))
    frequencies = Frequencies()
    frequencies.add(asked)
    index = build_index([features(corpus.held, corpus.held)], frequencies.bits(), 0.85, 0.004)
    index.save(tmp_path / "index")
    assert find_leaks(asked, LeakIndex.load(tmp_path / "index")) == find_leaks(asked, index)


def test_nothing_held_out_nothing_found() -> None:
    assert leaks(["a b c d"], []) == {}
    assert leaks([], ["a b c d"]) == {}
    assert leaks([""], [" "]) == {0: (0, 1.0)}


@given(st.lists(st.text(alphabet="ab .!", max_size=40), max_size=8), st.lists(st.text(max_size=60), max_size=8))
def test_every_equal_text_is_found_and_no_text_breaks_it(one: list[str], two: list[str]) -> None:
    held = [*one, *two]
    found = leaks([*held, *(t.upper().lower() for t in one)], held)
    assert set(range(len(held))) <= set(found)
    assert set(range(len(held), len(held) + len(one))) <= set(found)


@pytest.mark.acceptance
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_planted_leaks(seed: int) -> None:
    corpus = make_corpus(seed, held=1500, clean=5000, planted=500)
    numbers = bench.summary(corpus, bench.find(corpus))
    assert numbers["leak_exact_recall"] >= 0.99
    assert numbers["leak_near_recall"] >= 0.95
    assert all(numbers[f"leak_{kind}_recall"] >= 0.95 for kind in ("words", "sentences", "case_and_punctuation"))
    assert numbers["leak_false_alarms"] <= 0.005


def test_the_index_stays_within_its_kilobyte_for_each_held_out_text() -> None:
    for count in (10, 15, 60, 3000):
        held = [" ".join(words_of(i, count)) for i in range(200)]
        found = features(held, held)
        frequencies = Frequencies()
        frequencies.add(found)
        index = build_index([found], frequencies.bits(), 0.85, 0.004)
        size = sum(array.nbytes for name, array in index._asdict().items() if name != "bits")
        assert size <= 200 * 1100, count

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters.row_files import merged, quarantined
from tasks.contracts import Row
from tasks.similarity.profile import Profile
from tasks.version.card import CARD, IMAGE, card, write_card
from tasks.version.distributions import Counting, Distributions, length_names, quality_class
from tasks.version.picture import picture
from tests.tasks.version.versions import some_row, some_rows

LABELS = {"intent": {"billing": 7, "fault": 5}, "": {"a | b": 5}}


def counted(rows: list[Row]) -> Distributions:
    counting = Counting()
    for row in rows:
        counting.add(row)
    return counting.result()


def profile(answers: dict[str, dict[str, int]] | None = None) -> Profile:
    return Profile(rows=1, lengths=(0,) * 13, words={}, answers=answers or {})


def mixed_rows() -> list[Row]:
    rows = some_rows(20, metadata={"language": "en"}, quality=87, redactions={"EMAIL_ADDRESS": 2})
    return [
        *rows,
        merged(some_row(90, "q"), rows[0].row_id, "near_duplicate", "w").model_copy(update={"split": None}),
        quarantined(some_row(91, "q"), "contradicting_answers", "w").model_copy(update={"split": None}),
        some_row(0, "another source", source="cd", quality=100),
    ]


def test_every_row_is_counted() -> None:
    found = counted(mixed_rows())
    assert found.counts.model_dump() == {"rows_in": 23, "kept": 21, "merged": 1, "quarantined": 1, "redacted": 20}
    assert found.splits == {"train": 17, "test": 4}
    assert found.reasons == {"contradicting_answers": 1, "near_duplicate": 1}
    assert found.redactions == {"EMAIL_ADDRESS": 40}
    assert found.languages == {"en": 20}
    assert found.quality == {"80-89": 20, "90-100": 1}
    assert [(s.uri, s.rows_in, s.kept) for s in found.sources] == [("data/ab.jsonl", 22, 20), ("data/cd.jsonl", 1, 1)]
    assert found.conflicts == 1
    assert found.lengths["train answer"].model_dump(exclude={"classes"}) == {
        "smallest": 1, "median": 1, "p95": 1, "largest": 1,
    }  # fmt: skip


@given(st.lists(st.integers(0, 700), min_size=1, max_size=40), st.integers(0, 40))
def test_countings_add_up(lengths: list[int], cut: int) -> None:
    rows = [some_row(i, "w " * n, "a", quality=n % 101) for i, n in enumerate(lengths)]
    one, two = Counting(), Counting()
    for row in rows[:cut]:
        one.add(row)
    for row in rows[cut:]:
        two.add(row)
    one.merge(two)
    found = one.result()
    assert found == counted(rows)
    side = found.lengths["train prompt"]
    ordered = sorted(lengths)
    assert (side.smallest, side.largest, sum(side.classes)) == (ordered[0], ordered[-1], len(lengths))
    assert side.median == ordered[(len(ordered) + 1) // 2 - 1]


def test_names_of_classes() -> None:
    assert length_names()[0] == "0-4"
    assert length_names()[-1] == "513+"
    assert [quality_class(step) for step in (0, 8, 9)] == ["0-9", "80-89", "90-100"]


def test_the_card_says_everything() -> None:
    text = card("ds://p/main", counted(mixed_rows()), profile(LABELS), ["careful | now"], {"ds://p/a@1.0.0": "75 %"})
    for expected in (
        "# ds://p/main", "17 rows to train on, 4 held out", "> **Warning:** careful \\| now", f"]({IMAGE})",
        "| ds://p/a@1.0.0 | 75 % |", "| data/ab.jsonl | chat | 22 | 20 |", "| near_duplicate | 1 |",
        "1 rows were set aside", "| EMAIL_ADDRESS | 40 |", "| intent | billing | 7 |", "| answer | a \\| b | 5 |",
        "| 80-89 | 20 |", "| en | 20 |", "| train answer | 1 | 1 | 1 | 1 |",
    ):  # fmt: skip
        assert expected in text
    assert "another source" not in text


def test_what_is_empty_is_left_out() -> None:
    text = card("ds://p/main", counted(some_rows(5)), profile(), [], {})
    for absent in ("Warning", "Made from", "Why rows", "Quality", "Languages", "Labels", "different answers"):
        assert absent not in text


def test_many_sources_and_labels_are_shortened() -> None:
    rows = [some_row(i, "q", source=f"{i:02x}") for i in range(30)]
    text = card("ds://p/main", counted(rows), profile({"f": {f"v{i:02}": 30 - i for i in range(15)}}), [], {})
    assert "| 10 more |  | 10 | 10 |" in text
    assert "| f | 3 more | 51 |" in text


def size_of(image: bytes) -> tuple[int, int]:
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def test_the_image_has_a_panel_for_everything_there_is() -> None:
    small = picture(counted(some_rows(5)), profile())
    large = picture(counted(mixed_rows()), profile({"a": {"x": 5}, "b": {"y $1$": 5}, "c": {"日本": 5}, "d": {"z": 5}}))
    assert size_of(small) == (1080, 250)
    assert size_of(large) == (1080, 500)
    assert len(large) < 200_000
    assert b"Software" not in large


@pytest.mark.parametrize("rows", [[], some_rows(1), some_rows(3, test_every=99)])
def test_small_versions_have_an_image_too(rows: list[Row]) -> None:
    assert size_of(picture(counted(rows), profile({"": {}})))


def test_the_image_is_the_same_whatever_the_machine_prefers(tmp_path: Path) -> None:
    numbers, labels = counted(mixed_rows()), profile(LABELS)
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 300, "font.family": "monospace"}):
        write_card(tmp_path, "ds://p/main", numbers, labels)
    code = (
        "import sys; from pathlib import Path; from tests.tasks.version import test_card as t;"
        "t.write_card(Path(sys.argv[1]), 'ds://p/main', t.counted(t.mixed_rows()), t.profile(t.LABELS))"
    )
    (tmp_path / "other").mkdir()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], check=True)
    for name in (CARD, IMAGE):
        assert (tmp_path / name).read_bytes() == (tmp_path / "other" / name).read_bytes()

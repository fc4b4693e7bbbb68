from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import UsageError
from tasks.version.config import BenchmarkConfig
from tasks.version.contamination import contaminated, digests, read_benchmarks

QUESTION = "Which planet of the solar system has the largest number of known moons today?"
OTHER = "In what year was the first railway between two large cities opened to the public?"


def benchmark(folder: Path, name: str, text: str, suffix: str = "txt") -> BenchmarkConfig:
    path = folder / f"{name}.{suffix}"
    path.write_text(text, encoding="utf-8")
    return BenchmarkConfig(name=name, path=str(path))


def names(texts: list[str], *configured: BenchmarkConfig, overlap: float = 0.5) -> dict[int, str]:
    return contaminated(texts, read_benchmarks(configured, overlap))


def test_a_question_inside_a_row_is_found(tmp_path: Path) -> None:
    astro = benchmark(tmp_path, "astro", f"{QUESTION}\n\nsecond question with all of its nine small words\n")
    rail = benchmark(tmp_path, "rail", json.dumps({"question": OTHER, "id": 1}) + "\n", "jsonl")
    texts = [
        f"Answer this quiz. {QUESTION.upper()} Thank you.",
        "Which planet has moons? I ask since the solar system is large.",
        f"please: {OTHER.replace(',', ' ').replace('?', '')}",
        "",
    ]
    assert names(texts, astro, rail) == {0: "astro", 2: "rail"}
    assert names([f"{OTHER} {QUESTION}"], astro, rail) == {0: "astro"}


def test_the_overlap_is_a_share_of_the_runs_of_a_question(tmp_path: Path) -> None:
    astro = benchmark(tmp_path, "astro", QUESTION)
    half = " ".join(QUESTION.split()[:11])
    assert names([half], astro, overlap=0.5) == {0: "astro"}
    assert names([half], astro, overlap=0.8) == {}
    assert names([QUESTION], astro, overlap=1) == {0: "astro"}


def test_a_short_question_has_to_be_there_as_a_whole(tmp_path: Path) -> None:
    short = benchmark(tmp_path, "short", "who wrote moby dick\nthank you\n")
    assert names(["tell me: who wrote Moby Dick?", "who wrote it, moby dick", "thank you"], short) == {0: "short"}


@pytest.mark.parametrize("text", ['{"id": 1}\n', "no json\n", '["a"]\n', '{"question": 3}\n'])
def test_a_line_without_a_question_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as error:
        read_benchmarks([benchmark(tmp_path, "b", '{"text": "one two three four five"}\n' + text, "jsonl")], 0.5)
    assert error.value.where.endswith("b.jsonl:2")


def test_an_empty_or_missing_benchmark_is_refused(tmp_path: Path) -> None:
    full = benchmark(tmp_path, "full", QUESTION)
    with pytest.raises(UsageError, match="holds no question"):
        read_benchmarks([full, benchmark(tmp_path, "empty", "two words\n")], 0.5)
    with pytest.raises(UsageError, match="not there"):
        digests([BenchmarkConfig(name="gone", path=str(tmp_path / "gone.txt"))])


def test_the_key_is_the_content(tmp_path: Path) -> None:
    first = digests([benchmark(tmp_path, "b", QUESTION)])
    assert digests([benchmark(tmp_path, "b", QUESTION)]) == first
    assert digests([benchmark(tmp_path, "b", OTHER)]) != first


def test_a_benchmark_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(f"{QUESTION}\nquelle planète a le plus de lunes connues\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8") as error:
        read_benchmarks([BenchmarkConfig(name="latin", path=str(path))], 0.5)
    assert "latin.txt" in error.value.where
    assert error.value.remedy

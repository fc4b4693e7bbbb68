"""Which MinHash kernel, and which engine for the data stages? The numbers behind docs/decisions/0006.

    python -m bench.engines [--rows 100000]

Rates per CPU second do not depend on what else the machine does; all engines have two workers. Prints two tables and
one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench import peers
from bench.corpus import texts_of_size, write
from bench.near_duplicates import split_corpus

SIZES = {"0.1 KB": (100, 20_000), "2 KB": (2_000, 2_000), "10 KB": (10_000, 400)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.rows)
    print_tables(found)
    print(json.dumps(found))


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Rates of all kernels and engines, each in one environment with all of them."""
    write(folder / "corpus.jsonl", rows)
    parts = split_corpus(folder / "corpus.jsonl", folder / "parts")
    texts = {name: texts_of_size(characters, count) for name, (characters, count) in SIZES.items()}
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    return peers.run("engines", "engine_rates", parts=[str(p) for p in parts], texts=str(folder / "texts.json"))


def print_tables(found: dict[str, Any]) -> None:
    print(f"{'texts per CPU second':40}" + "".join(f"{size:>12}" for size in SIZES))
    for name, rates in found["kernels"].items():
        print(f"{name:40}" + "".join(f"{rates[size]:12,.0f}" for size in SIZES))
    print(f"\n{'rows':40}{'per CPU s':>12}{'per second':>12}")
    for name, rates in found["engines"].items():
        print(f"{name:40}{rates['per_cpu_second']:12,.0f}{rates['per_second']:12,.0f}")


if __name__ == "__main__":
    main()

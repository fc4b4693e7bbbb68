"""The data stages beside their peers: near duplicates, personal data, the whole stage, memory.

    python -m bench.data [--rows 100000] [--rounds 3] [--stage-rounds 3]     (make bench-data)

One generated corpus (bench/corpus.py); interleaved rounds; two workers a side. Tables, then one line of JSON:

near_dup_ratio      rows/s of finding near duplicates, ours to text-dedup, the fastest peer (bench/near_duplicates.py)
near_dup_f1         of our clusters over the planted pairs; peer_near_dup_f1: of the best peer
pii_ratio           MB/s of finding personal data by pattern, ours to Presidio without its NER (bench/pii.py)
stage_ratio         wall time of datatrove for what it has of the stage to ours for all of it
gx_share            share of Great Expectations, its import included, in the wall time of our stage
memory_growth       growth of the peak beyond the index when the corpus grows fourfold
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

from bench import near_duplicates, peers, pii
from bench.corpus import write
from tasks.process.config import ProcessConfig
from tasks.process.features import index_bytes

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
_SAMPLE_SECONDS = 0.25
_KEYS = (
    "near_dup_ratio", "near_dup_f1", "peer_near_dup_f1", "pii_ratio", "stage_ratio", "gx_share", "memory_growth",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stage-rounds", type=int, default=3, help="of the whole stage, which takes longest")
    parser.add_argument("--only-stage", action="store_true", help="leave near duplicates and personal data out")
    options = parser.parse_args()
    if not options.only_stage:
        pii.need_language_model()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        write(corpus, options.rows)
        print(f"corpus: {options.rows} rows, {corpus.stat().st_size / 1e6:.0f} MB", flush=True)
        result = stage(corpus, options.rows, options.stage_rounds, Path(folder))
        if not options.only_stage:
            result |= near_duplicates.measure(corpus, options.rounds, ("text-dedup",))
    if not options.only_stage:
        personal = pii.measure(rounds=options.rounds)
        pii.show(personal)
        result |= personal
    print(json.dumps({key: result[key] for key in _KEYS if key in result}))


def stage(corpus: Path, rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """The whole stage against datatrove, and its memory against that of a quarter of the corpus."""
    quarter = folder / "quarter.jsonl"
    write(quarter, rows // 4)
    parts = near_duplicates.split_corpus(corpus, folder / "text")
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for number in range(rounds):
        mine.append(ours(corpus, folder / f"home-{number}"))
        theirs.append(datatrove(parts, folder / f"datatrove-{number}"))
        print(f"round {number + 1}: {mine[-1]['total']:.1f} s, datatrove {theirs[-1]['total']:.1f} s", flush=True)
    small = ours(quarter, folder / "home-quarter")
    ratios = [t["total"] / m["total"] for m, t in zip(mine, theirs, strict=True)]
    growth = _beyond_index(mine[0]["peak"], rows) / _beyond_index(small["peak"], rows // 4) - 1
    shares = [m["expectations"] / m["total"] for m in mine]
    _print(mine, theirs, ratios, small)
    return {
        "stage_ratio": round(statistics.median(ratios), 2),
        "gx_share": round(statistics.median(shares), 4),
        "memory_growth": round(growth, 4),
    }


def _beyond_index(peak: float, rows: int) -> float:
    return peak - rows * index_bytes(ProcessConfig())


def ours(corpus: Path, home: Path) -> dict[str, Any]:
    """Run our stages in a process of their own; `peak` is the largest memory of its process tree in bytes (PSS)."""
    command = [sys.executable, "-m", "bench.data_stage", str(corpus), str(home)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peak = _Peak(process.pid)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"our stages failed with exit code {process.returncode}")
    result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return result | {"peak": peak.stop()}


class _Peak:
    """Largest proportional set size of a process and its children while it runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._over = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._now())

    def _now(self) -> float:
        total = 0.0
        try:
            top = psutil.Process(self._pid)
            for process in (top, *top.children(recursive=True)):
                total += process.memory_full_info().pss
        except psutil.Error:
            return 0.0
        return total


def datatrove(parts: list[Path], work: Path) -> dict[str, Any]:
    from tasks.adapters.base_models import resolve

    tokenizer = Path(resolve("smollm2-135m").path) / "tokenizer.json"
    cut = near_duplicates.PEER_CUT
    return peers.run(
        "datatrove", "datatrove_stage", corpus=str(parts[0].parent), work=str(work), tokenizer=str(tokenizer),
        ngram=near_duplicates.SHINGLES.size, bands=cut[0], band_rows=cut[1], workers=WORKERS,
    )  # fmt: skip


def _print(
    mine: list[dict[str, Any]], theirs: list[dict[str, Any]], ratios: list[float], small: dict[str, Any]
) -> None:
    for name, runs in (("tuneloop", mine), ("datatrove", theirs)):
        for run in runs:
            steps = "  ".join(f"{step} {seconds:.1f}" for step, seconds in run["seconds"].items())
            print(f"{name:<10} {run['total']:7.1f} s   {steps}")
    print(f"datatrove / tuneloop: {', '.join(f'{r:.2f}' for r in ratios)}")
    spent = ", ".join(f"{m['expectations']:.1f} s" for m in mine)
    print(f"Great Expectations: {mine[0]['rules']} rules, {spent}")
    print(f"peak memory: {mine[0]['peak'] / 1e6:.0f} MB; a quarter of the corpus: {small['peak'] / 1e6:.0f} MB")
    print(f"rows: {mine[0]['counts']}; {mine[0]['reasons']}; digest {mine[0]['digest'][:12]}", flush=True)


if __name__ == "__main__":
    main()

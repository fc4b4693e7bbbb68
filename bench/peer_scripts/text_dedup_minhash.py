"""text-dedup's MinHash deduplication over a folder of JSON Lines; runs in its environment (see bench/peers.py).

Argument: {"corpus", "work", "ngram", "bands", "band_rows", "workers"}; the corpus is a folder of files with `text`.
Last line of the output: seconds of each step (loading, hashing, clustering) and the file with the clusters.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import text_dedup.minhash as peer
from text_dedup.utils import Timer

_TIMERS: list[Any] = []


def main() -> None:
    given = json.loads(sys.argv[1])
    work = Path(given["work"])
    peer.Timer = _remembered
    permutations = given["bands"] * given["band_rows"]
    options = {
        "path": "json", "data_files": f"{given['corpus']}/*.jsonl", "split": "train", "column": "text",
        "cache_dir": work / "cache", "output": work / "output", "num_proc": given["workers"], "ngram": given["ngram"],
        "num_perm": permutations, "b": given["bands"], "r": given["band_rows"], "hash_func": "xxh3", "hash_bits": 64,
        "min_length": 1,
    }  # fmt: skip
    peer.main([a for k, v in options.items() for a in (f"--{k}", str(v))], standalone_mode=False)
    clusters: dict[int, list[int]] = {}
    for row in list(peer.uf.parent):
        clusters.setdefault(peer.uf.find(row), []).append(row)
    (work / "clusters.json").write_text(json.dumps([sorted(c) for c in clusters.values() if len(c) > 1]))
    times = _TIMERS[0].elapsed_times
    seconds = {name: times[name] for name in ("Loading", "MinHashing", "Clustering")}
    print(json.dumps({"seconds": seconds, "clusters": str(work / "clusters.json")}))


def _remembered() -> Any:
    _TIMERS.append(Timer())
    return _TIMERS[-1]


if __name__ == "__main__":
    main()

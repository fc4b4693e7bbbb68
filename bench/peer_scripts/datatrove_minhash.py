"""datatrove's MinHash deduplication over a folder of JSON Lines; runs in datatrove's environment (see bench/peers.py).

Argument: {"corpus", "work", "parts", "part_rows", "ngram", "bands", "band_rows", "workers"}; the corpus is a folder of
files with `text`. Last line of the output: seconds of each step and the file with the clusters.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.hashing import HashConfig


def main() -> None:
    given = json.loads(sys.argv[1])
    work, workers = Path(given["work"]), given["workers"]
    config = MinhashConfig(
        n_grams=given["ngram"],
        num_buckets=given["bands"],
        hashes_per_bucket=given["band_rows"],
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )
    steps: dict[str, tuple[list[Any], int]] = {
        "signatures": (
            [JsonlReader(given["corpus"]), MinhashDedupSignature(str(work / "signatures"), config=config)],
            workers,
        ),
        "buckets": (
            [MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)],
            config.num_buckets,
        ),
        "clusters": (
            [MinhashDedupCluster(str(work / "buckets"), str(work / "clusters"), config=config, save_cluster_id=True)],
            1,
        ),
    }
    seconds = {}
    for name, (pipeline, tasks) in steps.items():
        began = time.perf_counter()
        logs = str(work / "logs" / name)
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=logs).run()
        seconds[name] = time.perf_counter() - began
    clusters = read_clusters(work / "clusters", given["parts"], given["part_rows"], workers)
    (work / "clusters.json").write_text(json.dumps(clusters))
    print(json.dumps({"seconds": seconds, "clusters": str(work / "clusters.json")}))


def read_clusters(folder: Path, parts: int, part_rows: int, workers: int) -> list[list[int]]:
    """Clusters as lists of row numbers; worker w read the files w, w + workers, ... one after the other."""
    found: dict[int, list[int]] = {}
    for worker in range(workers):
        mine = list(range(worker, parts, workers))
        path = folder / f"{worker:06d}.clusters"
        for document, cluster in struct.iter_unpack("<II", path.read_bytes() if path.exists() else b""):
            number = mine[document // part_rows] * part_rows + document % part_rows
            found.setdefault(cluster, []).append(number)
    return [sorted(rows) for rows in found.values()]


if __name__ == "__main__":
    main()

"""datatrove over a folder of JSON Lines: what of a data stage it has. Runs in its environment (see bench/peers.py).

Reading, e-mail and IP addresses replaced, Gopher's rules on repetition and quality (as labels of rows, nothing is
dropped: both sides deduplicate the same rows), tokens counted, MinHash duplicates removed, rows written. It has no
other personal data, no contradictions, no split, no leak check, no report and no version.

Argument: {"corpus", "work", "tokenizer", "ngram", "bands", "band_rows", "workers"}. Last line: seconds of each step.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LambdaFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import TokensCounter
from datatrove.pipeline.writers import JsonlWriter
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
    signatures, buckets, clusters = (str(work / n) for n in ("signatures", "buckets", "clusters"))
    clean = str(work / "clean")
    rules = (GopherRepetitionFilter(), GopherQualityFilter())

    def judged(document: Any) -> bool:
        document.metadata["broken"] = [type(r).__name__ for r in rules if r.filter(document) is not True]
        return True

    steps: dict[str, tuple[list[Any], int]] = {
        "clean": (
            [
                JsonlReader(given["corpus"]),
                PIIFormatter(),
                LambdaFilter(judged),
                TokensCounter(tokenizer_name_or_path=given["tokenizer"]),
                JsonlWriter(clean, compression=None),
            ],
            workers,
        ),
        "signatures": ([JsonlReader(clean), MinhashDedupSignature(signatures, config=config)], workers),
        "buckets": ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        "clusters": ([MinhashDedupCluster(buckets, clusters, config=config)], 1),
        "write": (
            [JsonlReader(clean), MinhashDedupFilter(clusters), JsonlWriter(str(work / "out"), compression=None)],
            workers,
        ),
    }
    seconds = {}
    for name, (pipeline, tasks) in steps.items():
        began = time.perf_counter()
        logs = str(work / "logs" / name)
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=logs).run()
        seconds[name] = time.perf_counter() - began
    written = sum(1 for path in (work / "out").glob("*.jsonl") for _ in path.open("rb"))
    print(json.dumps({"seconds": seconds, "total": sum(seconds.values()), "rows": written}))


if __name__ == "__main__":
    main()

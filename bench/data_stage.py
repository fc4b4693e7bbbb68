"""Our data stages over one corpus in a process of their own: ingest, process, validate, version. Used by bench/data.py.

    python -m bench.data_stage CORPUS HOME

Last line of the output: wall seconds of each stage and of Great Expectations within, rows, digest of the version.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    corpus, home = Path(sys.argv[1]), Path(sys.argv[2])
    os.environ["TUNELOOP_HOME"] = str(home)
    os.environ.setdefault("TUNELOOP_WORKERS", "2")
    print(json.dumps(run(corpus)))


def run(corpus: Path) -> dict[str, Any]:
    """Prepare a dataset version of the corpus; imports count, since a user waits for them as well."""
    began = time.perf_counter()
    from tasks.adapters.base_models import resolve
    from tasks.adapters.store import Store
    from tasks.config import RunConfig
    from tasks.ingest.stage import read_sources
    from tasks.process.stage import process_rows
    from tasks.validate.stage import validate_rows
    from tasks.version.stage import make_version

    expectations = _watch_expectations()
    config = RunConfig.model_validate({"project": "bench", "data": {"sources": [{"path": str(corpus)}]}})
    base, store = resolve(config.model.base), Store.open()
    tokenizer = Path(base.path)
    seconds: dict[str, float] = {"imports": time.perf_counter() - began}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - start
        return result

    read = timed("ingest", lambda: read_sources(config.data, corpus.parent, store))
    cleaned = timed("process", lambda: process_rows(read, config.process, store))
    validated = timed(
        "validate", lambda: validate_rows(cleaned, config.checks, base.tokenizer_digest, tokenizer, store)
    )
    dataset = timed(
        "version",
        lambda: make_version(validated, "bench", config.split, config.policy_digest, base.tokenizer_digest, store),
    )
    counts = dataset.counts.model_dump()
    return {
        "seconds": seconds,
        "total": time.perf_counter() - began,
        "expectations": sum(expectations),
        "rules": validated.rules,
        "counts": counts,
        "reasons": dataset.reasons,
        "digest": dataset.digest,
    }


def _watch_expectations() -> list[float]:
    """Wall seconds of every call into Great Expectations, its import and its documents included."""
    from tasks.validate.expectations import Expectations

    spent: list[float] = []
    for name in ("__init__", "run", "write_docs"):
        setattr(Expectations, name, _timed(getattr(Expectations, name), spent))
    return spent


def _timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @functools.wraps(method)
    def measured(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            spent.append(time.perf_counter() - start)

    return measured


if __name__ == "__main__":
    main()

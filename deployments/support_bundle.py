"""What somebody else needs to help with a run, as one archive: configuration, log, events, environment, error.

No rows, no answers, no personal data, no secrets: settings are named, not shown; texts go through the search for
personal data; of logs only lines that no row can have written are taken (`log_lines`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from deployments.log_lines import safe_lines

if TYPE_CHECKING:
    from deployments.runs.prefect_history import FlowRun
    from deployments.runs.views import Runs

_LINES = 500
_MASK = "***"
_SECRET_KEY = re.compile(
    r"pass(?:word|wd|phrase)?|secret|token|credential|api_?key|private|authorization", re.IGNORECASE
)
_URL = re.compile(r"(\b[\w+.-]+://)[^/@\s]+@")
_LIBRARIES = (
    "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "safetensors", "tokenizers", "prefect",
    "mlflow", "pydantic", "sqlalchemy", "polars", "great_expectations", "presidio-analyzer",
)  # fmt: skip
_ABOUT = """What this archive holds, for somebody who helps with a run of Tuneloop:

run.json           which run, how it ended, its error (docs/errors.md explains the codes)
config.yaml        its configuration; passwords, keys and personal data replaced
events.jsonl       what its training said: steps, losses, memory, repairs
trainer.log        of the trainer's log: places in code, types of exceptions, texts of known libraries
flow.log           of the flow's log, likewise
environment.json   versions, processor, memory, disk, GPU; settings by name only
errors.json        how often which error occurred in this home

It holds no rows, no answers of models, no personal data and no secrets. Look through it before you send it.
"""


def write_bundle(runs: Runs, run: FlowRun, file: Path) -> list[str]:
    """Write the archive; the names of what is in it."""
    parts = contents(runs, run)
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return list(parts)


def contents(runs: Runs, run: FlowRun) -> dict[str, str]:
    """The files of the archive, by name."""
    from tasks.adapters.failure_log import counts

    clean = _cleaner(runs.home)
    details = runs.details(run)
    key = details.view.training
    trainer = runs.home / "logs" / f"train-{key[:16]}.log"
    printed = trainer.read_text(encoding="utf-8", errors="replace").splitlines() if key and trainer.is_file() else []
    logged = [part for line in runs.history.logs(runs.with_subflows(run.id)) for part in line.message.splitlines()]
    events = [event.model_dump(mode="json", exclude_none=True, exclude_defaults=True) for event in details.events]
    about = details.view.model_dump(mode="json", exclude={"notes", "tags"})
    about |= {"message": run.message, "error": _error(details.events, logged)}
    return {
        "README.txt": _ABOUT,
        "run.json": _json(masked(about, clean)),
        "config.yaml": yaml.safe_dump(masked(details.config, clean), sort_keys=False, allow_unicode=True),
        "events.jsonl": "".join(json.dumps(masked(event, clean), ensure_ascii=False) + "\n" for event in events),
        "trainer.log": "\n".join(safe_lines(printed[-_LINES:], clean)) + "\n",
        "flow.log": "\n".join(safe_lines(logged[-_LINES:], clean)) + "\n",
        "environment.json": _json(environment(runs.home)),
        "errors.json": _json([count.model_dump(mode="json") for count in counts()]),
    }


def _error(events: Any, logged: list[str]) -> dict[str, Any]:
    """The last failure that the training told of; else the code that the flow's log names."""
    told = [event for event in events if event.kind in ("failure", "failed")]
    if told:
        return {"text": told[-1].text, "step": told[-1].step, **told[-1].details}
    codes = [match[0] for line in logged if (match := re.search(r"\bTL-[A-Z0-9-]+\b", line))]
    return {"code": codes[-1]} if codes else {}


def masked(value: Any, clean: Callable[[str], str], key: str = "") -> Any:
    """A value with secrets, personal data and home folders taken out; its shape stays."""
    if isinstance(value, dict):
        return {str(name): masked(each, clean, str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each, clean, key) for each in value]
    if isinstance(value, str):
        return _MASK if value and _SECRET_KEY.search(key) and not key.endswith("tokens") else clean(value)
    return value


def _cleaner(home: Path) -> Callable[[str], str]:
    """Takes credentials, personal data and the names in folders out of a text."""
    from tasks.privacy.redact import Redactor

    redactor = Redactor()

    @functools.lru_cache(maxsize=10_000)
    def clean(text: str) -> str:
        text = _URL.sub(rf"\1{_MASK}@", text)
        text = text.replace(str(home), "$TUNELOOP_HOME").replace(str(Path.home()), "~")
        return redactor.redact(text)[0]

    return clean


def environment(home: Path) -> dict[str, Any]:
    """The machine and what is installed; of settings only which are set."""
    memory = psutil.virtual_memory()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory.total / 1e9, 1),
        "memory_free_gb": round(memory.available / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(home).free / 1e9, 1),
        "gpus": _gpus(),
        "libraries": {name: version for name in ("tuneloop", *_LIBRARIES) if (version := _version(name))},
        "settings": sorted(name for name in os.environ if name.startswith(("TUNELOOP_", "PREFECT_", "MLFLOW_", "HF_"))),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _gpus() -> list[str]:
    """Names, memory and driver of NVIDIA GPUs; none where their tool is not installed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,memory.used,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.splitlines()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"

"""The deployment package of a registered version: a folder that answers without Tuneloop."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.adapters.json_lines import read_records
from tasks.contracts import Record, Row, ServedModel
from tasks.digest import digest_file
from tasks.errors import UsageError
from tasks.register import package_script
from tasks.register.package_merge import MergeDifference, difference, merge
from tasks.register.package_readme import readme

SCRIPT = "answer.py"
COMPARED_ROWS = 20
_EXAMPLES = 3
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_MODEL = ("config.json", "model.safetensors")


class Package(Record):
    """What was written."""

    folder: str
    files: dict[str, str]
    merged: MergeDifference | None = None


def check_out(out: Path) -> None:
    """Refuse a folder that is there: nothing of a person's is ever overwritten.

    Raises:
        UsageError: it exists.
    """
    if out.exists():
        raise UsageError(
            "the folder for the package exists already",
            where=str(out),
            why="a package never overwrites anything",
            remedy="give --out a folder that does not exist",
        )


def held_out_rows(dataset: Path) -> list[Row]:
    """Held-out rows of a dataset version's folder."""
    path = dataset / "test.jsonl"
    return read_records(path, Row) if path.is_file() else []


def make_package(served: ServedModel, rows: Sequence[Row], card: str, out: Path, *, merged: bool) -> Package:
    """Write the package of a version; the folder appears when it is complete.

    Args:
        rows: held-out rows; some become example prompts, some compare the merged weights with the adapter.
        merged: also write base plus adapter as one model, and compare it with the adapter.
    """
    check_out(out)
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    plain = [row for row in rows if _is_plain(row)]
    compared = _write_weights(served, plain[:COMPARED_ROWS], work, merged=merged)
    stop = _write_tokenizer(served, work / "tokenizer")
    _write_texts(served, plain[:_EXAMPLES], card, compared, stop, work)
    files = {p.relative_to(work).as_posix(): digest_file(p) for p in sorted(work.rglob("*")) if p.is_file()}
    work.rename(out)
    return Package(folder=str(out), files=files, merged=compared)


def _is_plain(row: Row) -> bool:
    """Whether the row's prompt can be asked for as text: no calls of tools in it."""
    return bool(row.answer) and not row.tools and all(m.role != "tool" and not m.tool_calls for m in row.messages)


def _write_weights(served: ServedModel, rows: Sequence[Row], work: Path, *, merged: bool) -> MergeDifference | None:
    from tasks.inference.weights import is_whole_model

    source = Path(served.adapter_path)
    whole = is_whole_model(source)
    place = work / ("model" if whole else "adapter")
    place.mkdir()
    for name in _MODEL if whole else _ADAPTER:
        shutil.copyfile(source / name, place / name)
    if whole or not merged:
        return None
    merge(served, work / "model")
    return difference(served, work / "model", rows) if rows else None


def _write_tokenizer(served: ServedModel, folder: Path) -> int:
    """The tokenizer with the template it was trained with; returns the token that ends an answer."""
    from tasks.tokens import load_tokenizer, stop_token_id

    base = Path(served.base.path)
    tokenizer = load_tokenizer(base)
    folder.mkdir()
    for name in _TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    return stop_token_id(tokenizer)


def _write_texts(
    served: ServedModel, examples: Sequence[Row], card: str, compared: MergeDifference | None, stop: int, work: Path
) -> None:
    whole = not (work / "adapter").is_dir()
    settings = {
        "name": served.name,
        "version": served.version,
        "base": served.base.name,
        "base_digest": served.base.digest,
        "quantization": "none" if whole else served.quantization,
        "adapter_digest": served.adapter_digest,
        "stop_token_id": stop,
    }
    prompts = [{"messages": [{"role": m.role, "content": m.content} for m in row.prompt]} for row in examples]
    texts = {
        "package.json": json.dumps(settings, indent=1) + "\n",
        "prompts.jsonl": "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in prompts),
        "requirements.txt": "".join(f"{line}\n" for line in requirements(settings)),
        SCRIPT: Path(package_script.__file__).read_text(encoding="utf-8"),
        "MODEL_CARD.md": card,
        "README.md": readme(served, compared, adapter=not whole, model=(work / "model").is_dir()),
    }
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")


def requirements(settings: dict[str, Any]) -> list[str]:
    """What the script needs, in the versions that are installed here."""
    names = ["torch", "transformers", "peft"]
    names += ["accelerate", "bitsandbytes"] if settings["quantization"] != "none" else []
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in names]

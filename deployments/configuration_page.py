"""`python -m deployments.configuration_page`: the page that explains every configuration key, made from the models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tasks.config import RunConfig

PAGE = "docs/configuration.md"
_HEAD = """\
# Configuration

One YAML file says what a run does. Keys that are left out have their default; a misspelt key is an error that names
the line and the close one. `tuneloop config show CONFIG` prints every value with where it came from; `--set a.b=c`
overrides one value.
Where things lie and listen is not configured here but in environment variables `TUNELOOP_*` (`tasks/settings.py`).

This page is made by `python -m deployments.configuration_page`.
"""


def configuration_page() -> str:
    """The page as Markdown."""
    sections = [_HEAD]
    for name, field in RunConfig.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            rows = "\n".join(f"| `{key}` | {value} | {meaning} |" for key, value, meaning in _rows(model, name))
            sections.append(f"\n## {name}\n\n| key | default | meaning |\n|---|---|---|\n{rows}\n")
        else:
            sections.append(f"\n`{name}`: {field.description}\n")
    return "".join(sections)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from _rows(inner, f"{prefix}.{name}{'[]' if get_origin(field.annotation) is tuple else ''}")
        else:
            yield f"{prefix}.{name}", _default(field), (field.description or "").replace("|", "\\|")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "none"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(configuration_page())

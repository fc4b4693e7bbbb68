"""Configuration files: YAML to RunConfig, with the place of every value and of every mistake."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from deployments.config_values import NOT_YAML, Address, override, problem
from tasks.config import RunConfig
from tasks.errors import UsageError
from tasks.train.recipe import Valued, explain


class Template(NamedTuple):
    """Sections of a configuration that were saved under a name."""

    name: str
    sections: dict[str, Any]


class LoadedConfig(NamedTuple):
    """A configuration with where its values came from."""

    config: RunConfig
    path: Path
    origins: dict[Address, str]


def load_config(path: Path, overrides: Sequence[str] = (), template: Template | None = None) -> LoadedConfig:
    """Read a configuration file and apply `--set a.b=c` overrides; data paths become absolute.

    Args:
        template: settings that hold where the file itself says nothing.

    Raises:
        UsageError: the file is missing, not YAML, has a misspelt key, a value that is not allowed or values that
            contradict one another.
    """
    return config_from(_text(path), path, overrides, template)


def config_from(text: str, path: Path, overrides: Sequence[str] = (), template: Template | None = None) -> LoadedConfig:
    """The same for a text that is to lie at a path, whether it does already or not.

    Raises:
        UsageError: as `load_config`.
    """
    values, lines = _parsed(text, path)
    origins = {address: f"{path.name}:{line}" for address, line in lines.items()}
    if template is not None:
        for address in _fill(values, template.sections, ()):
            origins[address] = f"template {template.name}"
    for text in overrides:
        address = override(values, text)
        origins[address] = f"--set {text.partition('=')[0]}"
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise _usage_error(error, path, origins) from error
    except UsageError as error:
        raise _placed(error, path, origins) from error
    return LoadedConfig(_with_absolute_paths(config, path.parent), path, origins)


def _fill(values: dict[str, Any], below: dict[str, Any], address: Address) -> Iterator[Address]:
    """Put in what is missing; yields the addresses of what was put in."""
    for key, value in below.items():
        if isinstance(value, dict) and values.get(key) is None:
            values[key] = {}  # a section that the file opens and leaves empty says nothing either
        if isinstance(value, dict) and isinstance(values[key], dict):
            yield from _fill(values[key], value, (*address, key))
        elif key not in values:
            values[key] = value
            yield (*address, key)


def _placed(error: UsageError, path: Path, origins: dict[Address, str]) -> UsageError:
    """The error with the place where the value stands that it names, `train.rank` for example."""
    address = tuple(int(part) if part.isdigit() else part for part in error.where.split("."))
    place = _place(address, path, origins)
    return UsageError(error.what, where=place, why=error.why, remedy=error.remedy)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            "there is no such configuration file",
            where=str(path),
            remedy="give the path of a YAML file, or write one with `tuneloop init FILE...`",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the configuration file cannot be read",
            where=str(path),
            why=str(error),
            remedy="give a readable UTF-8 YAML file",
        ) from error


def _parsed(text: str, path: Path) -> tuple[dict[str, Any], dict[Address, int]]:
    """Values with the lines of their keys."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
        lines = dict(_lines(node, ())) if node is not None else {}
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(
            "the configuration file is not YAML",
            where=where,
            why=problem(error),
            remedy="correct the line; compare examples/support_desk/config.yaml",
        ) from error
    if not isinstance(values, dict):
        raise UsageError(
            "the configuration file is empty or not a mapping",
            where=str(path),
            remedy="it needs at least `project:` and `data:`; `tuneloop init FILE...` writes one",
        )
    return values, lines


def _lines(node: yaml.Node, address: Address) -> Iterator[tuple[Address, int]]:
    yield address, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from ((a, n) for a, n in _lines(value, (*address, key.value)))
            yield (*address, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*address, index))


def given_sections(loaded: LoadedConfig, names: Sequence[str]) -> dict[str, Any]:
    """Of some sections, the values that the file or `--set` gives; paths in them are absolute."""
    sections: dict[str, Any] = {}
    for name in names:
        values = getattr(loaded.config, name).model_dump(mode="json")
        told = {key: value for key, value in values.items() if (name, key) in loaded.origins}
        sections |= {name: told} if told else {}
    return sections


def _usage_error(error: ValidationError, path: Path, origins: dict[Address, str]) -> UsageError:
    found = error.errors(include_url=False, include_input=False)
    first = found[0]
    address = _key_address(tuple(first["loc"]))
    name = ".".join(str(part) for part in address)
    same = [e for e in found if _key_address(tuple(e["loc"])) == address]
    more = f" (and {len(found) - len(same)} more)" if len(found) > len(same) else ""
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(address[-1]), known_keys(address[:-1]), n=1)
        remedy = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known_keys(address[:-1]))}"
        what = f"`{name}` is not a configuration key{more}"
    else:
        what = f"`{name}`: {' or '.join(dict.fromkeys(e['msg'] for e in same))}{more}"
        remedy = "correct the value; `tuneloop config show` explains each one"
    return UsageError(what, where=_place(address, path, origins), remedy=remedy)


def _key_address(location: Address) -> Address:
    """The part of a location that names a configuration key: below it pydantic names branches of a choice."""
    for end in range(1, len(location)):
        part = location[end - 1]
        if isinstance(part, str) and part in known_keys(location[: end - 1]) and not known_keys(location[:end]):
            return location[: end + 1] if isinstance(location[end], int) else location[:end]
    return location


def _place(address: Address, path: Path, origins: dict[Address, str]) -> str:
    while address and address not in origins:
        address = address[:-1]
    origin = origins.get(address, path.name)
    return origin if origin.startswith(("--set", "template ")) else str(path.parent / origin)


def known_keys(address: Address) -> list[str]:
    """Names of the configuration keys below an address."""
    model: Any = RunConfig
    for part in address:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_in(field.annotation) if field else None
        if model is None:
            return []
    return list(model.model_fields)


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, list):
        return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)
    return None


def _with_absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    sources = tuple(s.model_copy(update={"path": _absolute(s.path, folder)}) for s in config.data.sources)
    benchmarks = tuple(b.model_copy(update={"path": _absolute(b.path, folder)}) for b in config.split.benchmarks)
    base = config.model.base
    if base.startswith((".", "/", "~")):
        base = _absolute(base, folder)
    start = config.train.start_from
    if start is not None and (start.startswith((".", "/", "~")) or "@" not in start):  # NAME@ALIAS is no path
        start = _absolute(start, folder)
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"sources": sources}),
            "split": config.split.model_copy(update={"benchmarks": benchmarks}),
            "model": config.model.model_copy(update={"base": base}),
            "train": config.train.model_copy(update={"start_from": start}),
        }
    )


def _absolute(path: str, folder: Path) -> str:
    if "://" in path:
        return path
    try:  # pathlib drops the point of ./~name, which is a file
        return str((folder / (Path(path).expanduser() if path.startswith("~") else path)).absolute())
    except RuntimeError as error:
        remedy = "give the path in full; a name that begins with ~ is written ./~name"
        raise UsageError("there is no such home folder", where=path, why=str(error), remedy=remedy) from error


class ShownValue(NamedTuple):
    """One configuration value with its origin, for `tuneloop config show`."""

    name: str
    value: Any
    origin: str
    description: str


def shown_values(loaded: LoadedConfig, rows: int | None = None, parameters: int | None = None) -> list[ShownValue]:
    """Every value of a configuration with where it came from; those of the training as it would have them.

    Args:
        rows: training rows of the data, if it was prepared already.
        parameters: weights of the base model, if it is at hand.
    """
    config, shown = loaded.config, []
    settled = explain(config.train, rows, parameters)
    for value in _walk(config, (), loaded.origins):
        section, _, name = value.name.partition(".")
        shown.append(_settled(value, settled[name]) if section == "train" and name in settled else value)
    return shown


def _settled(shown: ShownValue, found: Valued) -> ShownValue:
    """A field of the training: what a person left out has the preset's value, and `auto` its reason."""
    origin = found.origin
    if shown.value is not None and shown.origin != "default":
        origin = f"{shown.origin}, {origin}" if origin.startswith("auto: ") else shown.origin
    return shown._replace(value=found.value, origin=origin)


def _walk(model: BaseModel, address: Address, origins: dict[Address, str]) -> Iterator[ShownValue]:
    for name, field in type(model).model_fields.items():
        value, here = getattr(model, name), (*address, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, here, origins)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for index, item in enumerate(value):
                yield from _walk(item, (*here, index), origins)
        else:
            origin = origins.get(here, "default")
            yield ShownValue(".".join(map(str, here)), value, origin, field.description or "")

"""Rules of the house that no linter sees."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "mlflow",
    "great_expectations",
    "presidio_analyzer",
    "sklearn",
    "pandas",
    "matplotlib",
    "datasets",
)
SKIPPED_FOLDERS = {
    ".venv",
    ".git",
    ".tuneloop",
    "__pycache__",
    ".scratch",
    ".mypy_cache",
    ".ruff_cache",
    "node_modules",
}


def committed(*suffixes: str) -> list[Path]:
    """Every file of these kinds that belongs to the project."""
    found = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = set(inner) - SKIPPED_FOLDERS  # not entered: a virtual environment has a hundred thousand files
        found += [Path(folder, name) for name in names if Path(name).suffix in suffixes]
    return sorted(found)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


DOORS = (
    *(f"flows.{p.stem}" for p in sorted((ROOT / "flows").glob("*.py"))),
    *(f"tasks.{p.parent.name}.task" for p in sorted((ROOT / "tasks").glob("*/task.py"))),
    "deployments.cli",
)


def test_importing_a_door_loads_nothing_heavy() -> None:
    look = f"print(door, [m for m in {HEAVY!r} if m in sys.modules])"
    code = f"import importlib, sys\nfor door in {DOORS!r}:\n    importlib.import_module(door)\n    {look}"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip().splitlines()[-len(DOORS) :] == [f"{door} []" for door in DOORS]


@pytest.mark.parametrize("path", committed(".json"), ids=name_of)
def test_every_json_file_loads(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", committed(".yaml", ".yml"), ids=name_of)
def test_every_yaml_file_loads(path: Path) -> None:
    list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "path",
    [p for p in committed(".yaml") if p.is_relative_to(ROOT / "examples") and "project:" in p.read_text()],
    ids=name_of,
)
def test_every_example_configuration_is_a_run_configuration(path: Path) -> None:
    from deployments.config_file import load_config

    assert load_config(path).config.project


def test_the_great_expectations_folder_is_no_package() -> None:
    assert not list((ROOT / "great_expectations").rglob("*.py"))


def test_no_tests_package_shadows_another() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))

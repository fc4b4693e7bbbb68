"""docs/errors.md has a section for every code in the source, and none for others."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.commands.console import err, error_json, print_error
from tasks.errors import TrainingFailed
from tasks.train.failures import KINDS
from tasks.train.remedies import REPAIRABLE

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (TL-\S+)$", PAGE, re.M)


def codes_in_source() -> set[str]:
    files = (path for folder in ("tasks", "flows", "deployments") for path in (ROOT / folder).rglob("*.py"))
    return {code for path in files for code in re.findall(r'"(TL-[A-Z0-9-]+)"', path.read_text(encoding="utf-8"))}


def test_every_code_has_a_section_and_every_section_a_code() -> None:
    assert set(SECTIONS) == codes_in_source()
    assert len(SECTIONS) == len(set(SECTIONS))


@pytest.mark.parametrize("code", KINDS)
def test_a_section_says_what_to_do_or_what_is_done(code: str) -> None:
    section = PAGE.split(f"## {code}\n", 1)[1].split("\n## ", 1)[0]
    assert "**To do" in section or "**to do" in section
    assert ("**By itself" in section) == (code in REPAIRABLE)
    assert f"{code}" in PAGE.split("## ", 1)[0] or code not in REPAIRABLE


def test_an_error_names_its_section() -> None:
    error = TrainingFailed("the loss is no longer a number", code="TL-TRAIN-NAN")
    with err.capture() as printed:
        print_error(error)
    assert "docs/errors.md#tl-train-nan" in printed.get()
    assert error_json(error)["error"]["page"] == "docs/errors.md#tl-train-nan"


def test_the_commands_it_names_exist() -> None:
    from deployments.cli import app

    for command in (["runs", "errors"], ["runs", "retry"], ["support"]):
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0

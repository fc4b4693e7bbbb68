"""Runs suites of the Great Expectations project on a copy of it, and makes the report that people read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable
from tasks.validate.rules import Columns, Suite

_PROJECT = "great_expectations"
_HOME = '<!doctype html><meta http-equiv="refresh" content="0; url=../index.html"><a href="../index.html">Home</a>'
_SCRIPT = re.compile(r"<script\b.*?</script>|<script\b[^>]*/>", re.DOTALL | re.IGNORECASE)
_STYLES = re.compile(r"<style\b.*?</style>", re.DOTALL | re.IGNORECASE)
_LOADED = re.compile(r"<(?:link|img|iframe|source)\b[^>]*>", re.IGNORECASE)
_URL = re.compile(r"url\([^)]*\)|@import[^;]*;", re.IGNORECASE)


class RuleResult(Record):
    """What Great Expectations found for one rule."""

    code: str
    passed: bool
    unexpected: int
    observed: str = ""


def project_folder() -> Path:
    """The project as it lies in a checkout, or inside an installed package.

    Raises:
        EnvironmentUnusable: it is in neither place.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "project", here.parents[2] / _PROJECT):
        if (folder / "great_expectations.yml").is_file():
            return folder
    raise EnvironmentUnusable(
        "the Great Expectations project is missing",
        where=str(here.parents[2] / _PROJECT),
        remedy="install Tuneloop again",
    )


class Expectations:
    """A copy of the project in `folder`, in which suites are run.

    Great Expectations is loaded here (3-6 s) and by nothing else.
    """

    def __init__(self, folder: Path) -> None:
        import great_expectations as gx

        self.folder = folder
        shutil.copytree(project_folder(), folder)
        self._gx = gx
        self._context: Any = gx.get_context(mode="file", context_root_dir=str(folder))

    def run(self, suite: Suite, asset: str, columns: Columns, parameters: Mapping[str, float]) -> list[RuleResult]:
        """Evaluate every rule of a suite on a frame, in the suite's order.

        Raises:
            EnvironmentUnusable: a rule was left out, or could not be evaluated.
        """
        import pandas as pd

        frame = pd.DataFrame({name: columns[name] for name in suite.columns})
        loaded = self._context.suites.get(suite.name)
        batch = self._context.data_sources.get("rows").get_asset(asset).get_batch_definition("whole")
        definition = self._gx.ValidationDefinition(name=suite.name, data=batch, suite=loaded)
        result = self._context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            result_format="SUMMARY",
            expectation_parameters={k: _whole(v) for k, v in parameters.items()},
        )
        found = {r.expectation_config.meta["code"]: _result(r) for r in result.results}
        missing = [rule.code for rule in suite.rules if rule.code not in found]
        if missing or len(result.results) != len(suite.rules):
            raise EnvironmentUnusable(
                f"Great Expectations evaluated {len(result.results)} of {len(suite.rules)} rules",
                where=suite.name,
                why=f"left out: {', '.join(missing) or 'codes are not unique'}",
                remedy="compare the installed version with constraints.txt",
            )
        return [found[rule.code] for rule in suite.rules]

    def write_docs(self, target: Path) -> dict[str, str]:
        """Move the Data Docs to `target`, with nothing in them that a browser would fetch from the network.

        Returns:
            suite → path of its page of results inside `target`.
        """
        self._context.build_data_docs()
        shutil.move(self.folder / "uncommitted" / "data_docs" / "local_site", target)
        shutil.rmtree(target / "static")  # 4 MB of logos and fonts that the pages no longer refer to
        style = (Path(__file__).parent / "data_docs.css").read_text(encoding="utf-8")
        for page in target.rglob("*.html"):
            page.write_text(offline(page.read_text(encoding="utf-8"), style), encoding="utf-8")
        (target / "index.html").write_text(_HOME, encoding="utf-8")  # theirs is a table that only a script shows
        pages = sorted((target / "validations").rglob("*.html"))
        return {
            page.relative_to(target / "validations").parts[0]: page.relative_to(target).as_posix() for page in pages
        }


def offline(html: str, style: str) -> str:
    """A page that stands for itself: without scripts and images, with this style only; links to click on stay."""
    bare = _LOADED.sub("", _STYLES.sub("", _SCRIPT.sub("", html)))
    return _URL.sub("none", bare).replace("</head>", f"<style>{style}</style></head>", 1)


def _result(result: Any) -> RuleResult:
    code = result.expectation_config.meta["code"]
    if result.exception_info.get("raised_exception"):
        raise EnvironmentUnusable(
            "a rule could not be evaluated",
            where=f"rule {code}",
            why=str(result.exception_info.get("exception_message")),
            remedy="correct the rule in great_expectations/",
        )
    observed = result.result.get("observed_value", "")
    shown = f"{observed:.6g}" if isinstance(observed, float) else str(observed)
    return RuleResult(code=code, passed=bool(result.success), observed=shown,
                      unexpected=int(result.result.get("unexpected_count", 0)))  # fmt: skip


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value

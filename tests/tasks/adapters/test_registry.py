"""The registry on a real MLflow database in a temporary home."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.adapters import registry, release_history, releases
from tasks.adapters.registry_client import client, experiment
from tasks.adapters.store import Store
from tasks.contracts import Message, RegisteredModel
from tasks.errors import EnvironmentUnusable, ModelUnavailable, UsageError
from tasks.register.record import entry
from tests.tiny_model import make_tiny_model
from tests.tiny_release import CONFIG, NAME, champion, make_evidence, register

ROOT = Path(__file__).parents[3]


def test_a_version_holds_lineage_scores_curve_and_card(registry_home: Path, tiny_model: Path) -> None:
    model = register(tiny_model, 1)
    assert (model.version, model.alias, model.new) == (1, "challenger", True)
    run = client().get_run(model.run_id)
    assert run.data.params["data.sources.0.path"] == "a.jsonl"
    assert run.data.params["train.max_rows"] == ""
    assert run.data.metrics["tuned.exact_match.low"] == 0.4
    assert [point.step for point in client().get_metric_history(model.run_id, "train.loss")] == [1, 2]
    lineage = registry.tags(NAME, 1)
    assert lineage["dataset"] == "ds://support_desk/main@1.0.0"
    assert lineage["quantization"] == "none"
    assert lineage["base_digest"] == make_evidence(tiny_model, 1).trained.base.digest
    assert "+40 points" in registry.text(NAME, 1, "model_card.md")
    assert "max_rows: null" in registry.text(NAME, 1, "config.yaml")


def test_names_that_mlflow_refuses_are_written_in_signs_that_it_takes(registry_home: Path, tiny_model: Path) -> None:
    names = (
        "@type",
        "amount (EUR)",
        "amount :28:EUR:29:",
        "urgent?",
        "a//b",
        "a/b",
        "..",
        "größe",
        "x" * 300,
        "x" * 301,
    )
    evidence = make_evidence(tiny_model, 1)
    scores = evidence.report.systems["base"].model_copy(update={"per_field": dict.fromkeys(names, 0.5)})
    report = evidence.report.model_copy(update={"systems": dict.fromkeys(evidence.report.systems, scores)})
    told = entry(NAME, evidence.model_copy(update={"report": report}), {**CONFIG, "map": {"@id (x)": "y"}}, "{}")
    made = registry.register(told, Store.open().path(evidence.trained.uri))
    run = client().get_run(made.run_id)
    assert len([key for key in run.data.metrics if key.startswith("base.field.")]) == len(names)
    assert {"base.field.amount :28:EUR:29:", "base.field.größe", "base.field.:40:type"} <= set(run.data.metrics)
    assert run.data.params["map.:40:id :28:x:29:"] == "y"
    assert "amount (EUR)" in registry.text(NAME, 1, "evaluation.json")


def test_a_version_links_to_its_page_where_people_see_mlflow(
    registry_home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert register(tiny_model, 1).url == ""
    monkeypatch.setenv("TUNELOOP_MLFLOW_UI_URL", "http://127.0.0.1:5000")
    assert registry.versions(NAME)[0].url == f"http://127.0.0.1:5000/#/models/{NAME}/versions/1"


def test_no_base_weights_and_no_pickles_are_stored(registry_home: Path, tiny_model: Path) -> None:
    register(tiny_model, 1)
    files = [p for p in (registry_home / "mlflow" / "artifacts").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".safetensors", ".json", ".md", ".yaml"}
    assert [p.name for p in files if p.suffix == ".safetensors"] == ["adapter_model.safetensors"]


def test_registering_again_changes_nothing(registry_home: Path, tiny_model: Path) -> None:
    first, again = register(tiny_model, 1), register(tiny_model, 1)
    assert again == first.model_copy(update={"new": False})
    assert [v.version for v in registry.versions(NAME)] == [1]
    assert [step.action for step in release_history.history(NAME)] == ["registered"]


def test_a_second_adapter_takes_the_challenger_alias(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    register(tiny_model, 2)
    register(tiny_model, 3)
    assert {v.version: v.alias for v in registry.versions(NAME)} == {1: "champion", 2: "", 3: "challenger"}
    assert dict(client().get_registered_model(NAME).aliases) == {"champion": 1, "challenger": 3}


def test_served_brings_the_adapter_and_its_base_here(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    served = registry.served(NAME, "champion")
    assert served is not None
    assert served == registry.served(NAME, 1) == registry.served(NAME, "1")
    assert Path(served.adapter_path) == registry_home / "cache" / "adapters" / served.adapter_digest
    assert (Path(served.adapter_path) / "adapter_model.safetensors").is_file()
    assert Path(served.base.path) == tiny_model
    assert (served.redacted_entities, served.phone_regions) == (("EMAIL_ADDRESS",), ("BR",))
    assert registry.served(NAME, "previous") is None
    assert registry.served(NAME, 9) is None
    assert registry.served("other", "champion") is None
    with pytest.raises(UsageError, match="no such alias"):
        registry.served(NAME, "production")


def test_a_damaged_copy_is_fetched_again_and_a_damaged_original_is_refused(
    registry_home: Path, tiny_model: Path
) -> None:
    champion(tiny_model, 1)
    served = registry.served(NAME, 1)
    assert served is not None
    copy = Path(served.adapter_path) / "adapter_model.safetensors"
    original = copy.read_bytes()
    copy.write_bytes(b"torn")
    assert registry.served(NAME, 1) == served
    assert copy.read_bytes() == original
    copy.write_bytes(b"torn")
    next((registry_home / "mlflow" / "artifacts").rglob("adapter_model.safetensors")).write_bytes(b"other")
    with pytest.raises(EnvironmentUnusable, match="damaged"):
        registry.served(NAME, 1)


def test_another_base_under_the_same_name_is_refused(registry_home: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    champion(base, 1)
    make_tiny_model(base, seed=5)
    with pytest.raises(ModelUnavailable, match="not the one this version was trained on"):
        registry.served(NAME, "champion")


def test_a_base_that_is_gone_names_the_version(registry_home: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    champion(base, 1)
    shutil.rmtree(base)
    with pytest.raises(ModelUnavailable, match="the base model of this version cannot be had") as caught:
        registry.served(NAME, "champion")
    assert caught.value.where == f"{NAME} version 1"
    assert str(base) in caught.value.why


def test_an_unusable_registry_is_a_coded_error(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (registry_home / "taken").write_text("not a database")
    monkeypatch.setenv("TUNELOOP_MLFLOW_URL", f"sqlite:///{registry_home / 'taken'}")
    with pytest.raises(EnvironmentUnusable, match="registry cannot be used"):
        registry.versions(NAME)


_KILLED = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow.artifacts, mlflow.store.tracking.sqlalchemy_store  # loaded once; no database is opened before the fork

from tasks.progress import listening
from tests.tiny_release import register

def run_and_die_at(step):
    def die(progress):
        if progress.text == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with listening(die):
        register(Path(sys.argv[1]), 1)

for step in sys.argv[2:]:
    child = os.fork()
    if not child:
        run_and_die_at(step)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
STEPS = (
    "run created",
    "parameters and metrics written",
    "artifacts written",
    "run finished",
    "model created",
    "version created",
    "history written",
    "alias challenger set",
)


def test_killed_at_any_point_the_same_command_ends_with_one_version(registry_home: Path, tiny_model: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tiny_model), *STEPS]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.stdout.split() == [str(-signal.SIGKILL)] * len(STEPS), result.stderr
    model = register(tiny_model, 1)
    _assert_registered_once(model)


def _assert_registered_once(model: RegisteredModel) -> None:
    assert (model.version, model.alias) == (1, "challenger")
    assert len(registry.versions(NAME)) == 1
    experiment = client().get_experiment_by_name(NAME).experiment_id
    assert [run.info.status for run in client().search_runs([experiment])] == ["FINISHED"]
    assert dict(client().get_registered_model(NAME).aliases) == {"challenger": 1}
    assert [step.action for step in release_history.history(NAME)] == ["registered"]
    assert registry.served(NAME, "challenger") is not None


def test_aliases_that_a_kill_left_behind_are_repaired(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    champion(tiny_model, 2)
    client().set_registered_model_alias(NAME, "champion", "1")
    client().delete_registered_model_alias(NAME, "previous")
    assert releases.reconcile(NAME) == {"champion": 2, "previous": 1}
    assert dict(client().get_registered_model(NAME).aliases) == {"champion": 2, "previous": 1}


def test_served_adapter_changes_the_answers_of_the_engine(registry_home: Path, tiny_model: Path) -> None:
    from tasks.inference.engine import Engine

    champion(tiny_model, 1)
    served = registry.served(NAME, "champion")
    assert served is not None
    ask = [(Message(role="user", content="where is my bike"),)]
    with_adapter = Engine.load(served.base, Path(served.adapter_path), served.quantization).generate(ask, 12, 1)
    assert with_adapter != Engine.load(served.base, None, served.quantization).generate(ask, 12, 1)


def test_the_experiment_of_a_model_is_made_once(registry_home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(experiment, ["race"] * 8))) == 1


def test_runs_that_end_at_once_do_not_set_aliases_back(registry_home: Path, tiny_model: Path) -> None:
    model = register(tiny_model, 1)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(releases.reconcile, NAME) for _ in range(6)]
        releases.promote(NAME, model.version, None, "test", "first")
        waiting += [pool.submit(releases.reconcile, NAME) for _ in range(6)]
        for one in waiting:
            one.result()
    assert {k: int(v) for k, v in client().get_registered_model(NAME).aliases.items()} == {"champion": model.version}

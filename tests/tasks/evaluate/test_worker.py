"""The worker with a real tiny model: in this process, as a process of its own, and through the comparison."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, DatasetVersion, LossPoint, Record, ServedModel, TrainedModel
from tasks.digest import digest_folder
from tasks.errors import EvaluationFailed
from tasks.evaluate import worker
from tasks.evaluate.comparison import ANSWERS_FILE, compare
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.generation import answers_of, read_answers
from tasks.evaluate.plan import AnswerLine, Plan, System, SystemAnswers, systems_of
from tasks.evaluate.report import ScoredRow
from tasks.evaluate.rows import messages_digest
from tasks.inference.precision import native_precision
from tests.tasks.evaluate.answer_rows import row, tickets, version_of, write_dataset

CONFIG = EvaluateConfig(max_new_tokens=4, batch_rows=4, examples_for_base=1)
MULTI = row(
    "and now?", tickets(1)[0].answer, 90, earlier=[("system", "be brief"), ("user", "hi"), ("assistant", "yes")]
)
TRAIN, TEST = tickets(30), [*tickets(5, start=30), MULTI]


class Folder(Record):
    """Stands for any stage output."""

    uri: str


@pytest.fixture
def store(home: Path) -> Store:
    return Store.open()


@pytest.fixture
def dataset(store: Store) -> DatasetVersion:
    def make(folder: Path) -> Folder:
        write_dataset(folder, TRAIN, TEST)
        return Folder(uri=store.uri("version", "k"))

    return version_of(store.produce("version", "k", Folder, make).uri, TRAIN, TEST)


@pytest.fixture
def base(tiny_model: Path) -> BaseModelRef:
    digest = digest_folder(tiny_model)
    return BaseModelRef(name="tiny", path=str(tiny_model), digest=digest, tokenizer_digest=digest, parameters=1)


@pytest.fixture
def trained(store: Store, base: BaseModelRef) -> TrainedModel:
    def make(folder: Path) -> Folder:
        write_adapter(Path(base.path), folder)
        return Folder(uri=store.uri("train", "k"))

    return TrainedModel(
        uri=store.produce("train", "k", Folder, make).uri,
        adapter_digest="a" * 64,
        base=base,
        dataset="ds://desk/main@1.0.0",
        dataset_digest="d" * 64,
        quantization="none",
        steps=1,
        rows_seen=1,
        rows_available=1,
        tokens_per_second=1,
        final_loss=1,
        curve=(LossPoint(step=1, loss=1, learning_rate=1, tokens=1),),
        decisions={},
        seconds=1,
    )


def write_adapter(model: Path, folder: Path) -> None:
    """A LoRA adapter with random weights, large enough to change the answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)


def say_nothing(_text: str, _done: int, _total: int) -> None:
    return None


def test_every_system_answers_every_row_once(store: Store, dataset: DatasetVersion, trained: TrainedModel) -> None:
    systems = systems_of(trained, str(store.path(trained.uri)), None)
    said: list[str] = []
    plan = Plan(dataset=dataset, config=CONFIG, systems=systems)
    found = worker.answer_all(store, plan, lambda text, _done, _total: said.append(text))
    assert set(found) == {"base", "tuned"}
    for answers in found.values():
        assert set(read_answers(store, answers)) == {messages_digest(r.messages) for r in TEST}
        assert answers.perplexity > 1
        assert answers.retention is not None
        assert (answers.rows, answers.max_new_tokens) == (6, 4)
        assert answers.computed_in == native_precision("cpu")
    assert found["base"].perplexity != found["tuned"].perplexity
    assert "base: loading" in said
    assert any(text.startswith("tuned: answering") for text in said)
    said.clear()
    assert worker.answer_all(store, plan, lambda text, _done, _total: said.append(text)) == found
    assert said == []


def test_the_longest_answer_comes_from_the_training_rows(
    store: Store, dataset: DatasetVersion, base: BaseModelRef
) -> None:
    from tasks.tokens import encode_answer, load_tokenizer

    config = EvaluateConfig(batch_rows=8, retention=False, max_rows=2)
    plan = Plan(dataset=dataset, config=config, systems=(System(name="base", base=base, described=True),))
    answers = worker.answer_all(store, plan, say_nothing)["base"]
    tokenizer = load_tokenizer(Path(base.path))
    longest = max(len(encode_answer(tokenizer, r.prompt, r.answer)) for r in TRAIN)
    assert answers.max_new_tokens == longest + 16
    assert (answers.rows, answers.retention) == (2, None)


def test_the_base_is_not_asked_beyond_its_context(
    store: Store, dataset: DatasetVersion, tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "short"
    shutil.copytree(tiny_model, path)
    settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 220}), encoding="utf-8")
    base = BaseModelRef(name="s", path=str(path), digest="5" * 64, tokenizer_digest="5" * 64, parameters=1)
    config = EvaluateConfig(max_new_tokens=2, retention=False, examples_for_base=8)
    plan = Plan(dataset=dataset, config=config, systems=(System(name="base", base=base, described=True),))
    (note,) = worker.answer_all(store, plan, say_nothing)["base"].notes
    assert note.startswith("6 of 6 rows leave no room in the base model's context for all 8 worked examples")


def test_an_answer_with_other_separators_of_lines_is_read(store: Store) -> None:
    def make(folder: Path) -> SystemAnswers:
        worker._write(folder / "answers.jsonl", [AnswerLine(row="r", answer="a\u2028b\u0085c")])
        return SystemAnswers(
            uri=store.uri("answers", "k"),
            rows=1,
            max_new_tokens=9,
            perplexity=3.0,
            retention=None,
            seconds_per_answer=0.1,
        )

    assert read_answers(store, store.produce("answers", "k", SystemAnswers, make)) == {"r": "a\u2028b\u0085c"}


def test_a_comparison_from_references_to_a_stored_report(
    store: Store, dataset: DatasetVersion, trained: TrainedModel
) -> None:
    quiet = CONFIG.model_copy(update={"retention": False})
    progress: list[tuple[str, int, int]] = []
    report = compare(store, dataset, trained, None, quiet, lambda *said: progress.append(said))
    assert list(report.systems) == ["base", "tuned", "majority", "nearest"]
    assert (report.rows, report.rows_available, report.metric) == (6, 6, "exact_match")
    assert report.systems["nearest"].exact_match.mean > report.systems["tuned"].exact_match.mean
    assert ("tuned: answering", 6, 6) in progress
    lines = (store.path(report.uri) / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()
    assert {name for line in lines for name in ScoredRow.model_validate_json(line).systems} == set(report.systems)
    assert store.verify(report.uri) == []

    progress.clear()
    assert compare(store, dataset, trained, None, quiet, lambda *said: progress.append(said)) == report
    as_champion = ServedModel(
        name="desk",
        version=1,
        adapter_path=str(store.path(trained.uri)),
        adapter_digest=trained.adapter_digest,
        base=trained.base,
        quantization="none",
        dataset=trained.dataset,
        dataset_uri=dataset.uri,
    )
    again = compare(store, dataset, trained, as_champion, quiet, lambda *said: progress.append(said))
    assert progress == []  # the champion's answers are those it gave as candidate
    assert again.digest != report.digest  # what was decided without a champion says nothing against one
    assert (report.champion_version, again.champion_version) == (None, 1)
    moved = as_champion.model_copy(update={"version": 2})  # a registry that was made anew counts again
    assert compare(store, dataset, trained, moved, quiet, lambda *said: progress.append(said)).champion_version == 2
    assert again.differences["champion"].mean == 0.0
    assert again.systems["champion"].exact_match == again.systems["tuned"].exact_match


def test_a_coded_error_of_the_worker_reaches_the_caller(store: Store, base: BaseModelRef) -> None:
    nowhere = version_of(store.uri("version", "none"), TRAIN, TEST)
    with pytest.raises(EvaluationFailed, match="no train rows") as caught:
        answers_of(store, nowhere, (System(name="base", base=base),), CONFIG, say_nothing)
    assert caught.value.exit_code == 30
    assert caught.value.remedy


def test_a_crash_of_the_worker_names_its_log(store: Store, dataset: DatasetVersion, base: BaseModelRef) -> None:
    broken = base.model_copy(update={"path": str(store.root / "no-model"), "digest": "0" * 64})
    with pytest.raises(EvaluationFailed) as caught:
        answers_of(store, dataset, (System(name="base", base=broken),), CONFIG, say_nothing)
    assert caught.value.where
    assert caught.value.remedy


def test_the_worker_dies_with_its_parent(store: Store, dataset: DatasetVersion, base: BaseModelRef) -> None:
    plan = Plan(dataset=dataset, config=CONFIG, systems=(System(name="base", base=base),))
    path = store.root / "plan.json"
    path.write_text(plan.model_dump_json(), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "tasks.evaluate.worker", str(path)],
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 129


def test_importing_the_door_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "sklearn", "scipy", "rouge_score"}
    code = f"import sys, tasks.evaluate.task, tasks.gate.task; print([m for m in {sorted(heavy)} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"

"""Going on: by itself where nothing changed, on another machine too; never silently where something did."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from tasks.adapters.base_models import resolve
from tasks.adapters.mirror import Mirror
from tasks.adapters.processes import TERM_GRACE_SECONDS
from tasks.adapters.store import Store
from tasks.digest import canonical_json, digest_file
from tasks.errors import ResumeMismatch
from tasks.train.checkpoint import MARKER, STATE, name_of
from tasks.train.checkpoints import Checkpoints
from tasks.train.plan import Job
from tasks.train.stage import training
from tasks.train.unfinished import Begun, Unfinished, begin, differences, not_used, unfinished
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.test_checkpoint import position, tensors
from tests.tasks.train.test_stage import CONFIG, make_dataset
from tests.tasks.train.training_rows import make_job

NEVER = bool


def stop_at(step: int) -> Callable[[], bool]:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > step

    return stop


def result_of(job: Job) -> Result:
    assert run_job(job, NEVER)
    return Result.model_validate_json((job.work / RESULT).read_text())


# --- another machine ------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{settings['AWS_ENDPOINT_URL']}/moto-api/reset")  # buckets outlive their server
    boto3.client("s3").create_bucket(Bucket="trainings")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # those of another test talk to its server
    yield "s3://trainings/store"
    server.stop()


def test_another_machine_goes_on_from_the_object_store(
    home: Path, tiny_model: Path, tmp_path: Path, bucket: str
) -> None:
    expected = result_of(make_job(tmp_path / "whole", tiny_model, dropout=0.2))
    store = Store(bucket, home)
    uri = store.remote_work_uri("train", "k" * 8)
    here = make_job(tmp_path / "here", tiny_model, dropout=0.2).model_copy(update={"mirror": uri})
    assert not run_job(here, stop_at(5))
    kept = Mirror(uri, MARKER)
    assert kept.names() == [name_of(4), name_of(5)]
    assert store.remote_work("train") == ["k" * 8]
    shutil.rmtree(here.work)
    there = make_job(tmp_path / "there", tiny_model, dropout=0.2).model_copy(update={"mirror": uri})
    found = result_of(there)
    assert found.adapter_digest == expected.adapter_digest
    assert [p.loss for p in found.curve] == [p.loss for p in expected.curve]
    assert found.interruptions == 1
    assert "interrupted 1×, resumed at step 5 from the object store" in found.history
    assert store.remote_work("train") == ["k" * 8], "they stay until the result lies in the store"


def memory(name: str) -> str:
    fsspec.filesystem("memory").store.clear()
    return f"memory://{name}"


def test_damage_here_is_made_good_from_the_object_store(tmp_path: Path) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, memory("a"), said.append)
    for step in (2, 4):
        checkpoints.save(position(step), tensors(step), "{}")
    checkpoints.wait()
    (tmp_path / name_of(4) / "adapter.safetensors").write_bytes(b"torn")
    found = checkpoints.last_good("k")
    assert found is not None
    assert (found.position.step, found.fetched) == (4, True)
    assert said == [f"checkpoint {name_of(4)} was not used: damaged: adapter.safetensors"]


def test_damage_in_the_object_store_is_found_too(tmp_path: Path) -> None:
    said: list[str] = []
    uri = memory("b")
    checkpoints = Checkpoints(tmp_path / "here", uri, said.append)
    for step in (2, 4):
        checkpoints.save(position(step), tensors(step), "{}")
    checkpoints.wait()
    fsspec.filesystem("memory").pipe_file(f"/b/{name_of(4)}/state.json", b"{")
    found = Checkpoints(tmp_path / "there", uri, said.append).last_good("k")
    assert found is not None
    assert found.position.step == 2
    assert said[0].startswith(f"checkpoint {name_of(4)} in the object store was not used: damaged")


def test_an_object_store_that_fails_costs_only_the_second_copy(tmp_path: Path) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, "file:///proc/nowhere", said.append)
    checkpoints.save(position(2), tensors(2), "{}")
    checkpoints.wait()
    found = checkpoints.last_good("k")
    assert found is not None
    assert (found.position.step, found.fetched) == (2, False)
    assert said == ["the last checkpoint could not be kept in the object store; it lies here (FileNotFoundError)"]


def change_state(job: Job, step: int, change: dict[str, Any]) -> None:
    """Have a checkpoint say something else, and be undamaged."""
    checkpoint = job.work / "checkpoints" / name_of(step)
    state = json.loads((checkpoint / STATE).read_text()) | change
    (checkpoint / STATE).write_text(json.dumps(state))
    digests = json.loads((checkpoint / MARKER).read_text()) | {STATE: digest_file(checkpoint / STATE)}
    (checkpoint / MARKER).write_text(canonical_json(digests))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"processes": 2}, "from step 3 on 1 instead of 2 processes train"),
        ({"tensors": {}}, "the learned tensors have other names, types or shapes; the training begins again"),
        ({"plan": "other"}, "it was written for another order of the rows; the training begins again"),
    ],
)
def test_what_else_may_differ_is_said(
    home: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    job = make_job(tmp_path, tiny_model)
    assert not run_job(job, stop_at(3))
    change_state(job, 3, change)
    result = result_of(job)
    assert any(said in text for text in result.history), result.history
    assert [p.step for p in result.curve] == [1, 2, 3, 4, 5, 6]
    assert result.interruptions == 1


def test_a_rejected_checkpoint_is_rejected_once(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """What is written after it stands at lower steps, and is what the next start goes on from."""
    uri = memory("rejected")
    job = make_job(tmp_path, tiny_model).model_copy(update={"mirror": uri})
    assert not run_job(job, stop_at(5))
    for step in (4, 5):
        change_state(job, step, {"plan": "other"})
        Mirror(uri, MARKER).put(job.work / "checkpoints" / name_of(step))
    assert not run_job(job, stop_at(2))
    folder = job.work / "checkpoints"
    assert sorted(path.name for path in folder.glob("*step-*")) == [
        f"set-aside-{name_of(4)}", f"set-aside-{name_of(5)}", name_of(2)
    ]  # fmt: skip
    assert Mirror(uri, MARKER).names() == [name_of(2)]
    result = result_of(job)
    rejected = [text for text in result.history if "was not used" in text]
    assert len(rejected) == 1
    assert rejected[0].startswith(f"checkpoint {name_of(5)} was not used: it was written for another order")
    assert f"set-aside-{name_of(4)}, set-aside-{name_of(5)}" in rejected[0]
    assert "interrupted 2×, resumed at step 2" in result.history
    assert not folder.exists()


# --- what changed ---------------------------------------------------------------------------------------------


def cut_short(store: Store, key: str, base: Any, step: int = 40, **recipe: Any) -> Begun:
    """What a training of this key that was killed has left."""
    dataset = make_dataset(store)
    begun = Begun(
        key=key,
        dataset=dataset.address,
        dataset_digest=dataset.digest,
        base=base.name,
        base_digest=base.digest,
        recipe=recipe,
    )
    work = store.root / "work" / "train" / key
    begin(begun, work, store)
    Checkpoints(work / "checkpoints", "", lambda _: None).save(position(step, key), tensors(step), "{}")
    return begun


class EnoughSeen(Exception):
    """Ends a training before its process starts."""


def notes(home: Path, model: Path, resume: str = "", **change: Any) -> list[str]:
    said: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "note":
            said.append(event["text"])
            raise EnoughSeen

    store = Store.open()
    with pytest.raises(EnoughSeen):
        training(store, make_dataset(store), resolve(str(model)), CONFIG.model_copy(update=change), listen, resume)
    return said


def begun_with(**change: Any) -> Begun:
    values = {"key": "a" * 64, "dataset": "ds://p/main@1.0.0", "dataset_digest": "1", "base": "b", "base_digest": "2"}
    return Begun.model_validate(values | {"recipe": {"rank": 8, "learning_rate": 2e-4}} | change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"recipe": {"rank": 8, "learning_rate": 1e-3}}, "train.learning_rate 0.0002 → 0.001"),
        ({"recipe": {"rank": 16, "learning_rate": 2e-4}}, "train.rank 8 → 16"),
        ({"dataset": "ds://p/main@1.1.0", "dataset_digest": "9"}, "dataset ds://p/main@1.0.0 → ds://p/main@1.1.0"),
        ({"dataset_digest": "9"}, "dataset other rows"),
        ({"base_digest": "9"}, "model.base: other files"),
        ({"base": "c", "base_digest": "9"}, "model.base b → c"),
        ({"start": "7"}, "train.start_from"),
        ({}, "the release of Tuneloop"),
    ],
)
def test_what_differs_is_named(change: dict[str, Any], text: str) -> None:
    assert differences(begun_with(), begun_with(key="b" * 64, **change)) == [text]


def test_only_checkpoints_of_the_same_data_set_are_spoken_of() -> None:
    now = begun_with(key="b" * 64, recipe={"rank": 4})
    here = Unfinished(begun=begun_with(recipe={"rank": 8}), step=40)
    elsewhere = Unfinished(begun=begun_with(dataset="ds://other/main@1.0.0"), step=10)
    nothing = Unfinished(begun=begun_with(), step=0)
    assert not_used([here, elsewhere, nothing], now) == [
        "the checkpoint at step 40 of the unfinished training aaaaaaaaaaaa was not used: train.rank 8 → 4"
    ]
    assert not_used([here, Unfinished(begun=now, step=20)], now) == [], "its own checkpoint is used"


def test_a_changed_training_says_which_checkpoint_it_does_not_use(home: Path, tiny_model: Path) -> None:
    base = resolve(str(tiny_model))
    cut_short(Store.open(), "a" * 64, base, rank=8)
    said = notes(home, tiny_model, rank=3)
    assert said[0].startswith("the checkpoint at step 40 of the unfinished training aaaaaaaaaaaa was not used: train.")
    assert "train.rank 8 → 3" in said[0]
    again = notes(home, tiny_model, rank=3)
    assert again == said, "a later start of the same training still knows it"


def test_resume_with_a_mismatch_is_an_error(home: Path, tiny_model: Path) -> None:
    store, base = Store.open(), resolve(str(tiny_model))
    cut_short(store, "a" * 64, base, rank=8)
    dataset = make_dataset(store)
    with pytest.raises(ResumeMismatch, match="cannot be resumed") as caught:
        training(store, dataset, base, CONFIG, lambda _: None, "aaaa")
    assert (caught.value.code, caught.value.exit_code) == ("TL-RESUME", 2)
    assert caught.value.where == "checkpoint at step 40"
    assert "train.rank 8 → 2" in caught.value.why
    with pytest.raises(ResumeMismatch, match="there is no unfinished training 'beef'") as caught:
        training(store, dataset, base, CONFIG, lambda _: None, "beef")
    assert "aaaaaaaaaaaa (step 40)" in caught.value.why
    cut_short(store, "ab" + "a" * 62, base, rank=8)
    with pytest.raises(ResumeMismatch, match="names several"):
        training(store, dataset, base, CONFIG, lambda _: None, "a")


def test_unfinished_trainings_are_found_here_and_in_the_object_store(home: Path, tiny_model: Path) -> None:
    fsspec.filesystem("memory").store.clear()
    begun = cut_short(Store.open(), "a" * 64, resolve(str(tiny_model)), rank=8)
    local = home / "work" / "train" / ("a" * 64) / "checkpoints"
    remote = Store("memory://bucket", home)
    Mirror(remote.remote_work_uri("train", "a" * 64), MARKER).put_files(local)
    Mirror(remote.remote_work_uri("train", "a" * 64), MARKER).put(local / name_of(40))
    shutil.rmtree(home / "work")
    assert unfinished(remote) == [Unfinished(begun=begun, step=40)]
    remote.forget_remote_work("train", "a" * 64)
    assert unfinished(remote) == []


# --- asked to stop --------------------------------------------------------------------------------------------


def test_sigterm_leaves_a_checkpoint_and_ends_with_143(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The real process, asked in the middle of its work."""
    job = make_job(tmp_path, tiny_model, epochs=500.0, checkpoint_steps=100_000)
    request = tmp_path / "job.json"
    request.write_text(job.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "tasks.train.worker", str(request)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        events = (json.loads(line.split(" ", 1)[1]) for line in process.stdout if line.startswith("@tuneloop "))
        steps = 0
        for event in events:
            steps = event["step"] if event["event"] == "progress" else steps
            if steps == 3:
                process.send_signal(signal.SIGTERM)
                asked = time.monotonic()
                break
        steps = max([steps, *(event["step"] for event in events if event["event"] == "progress")])
        assert process.wait() == 143
    assert time.monotonic() - asked < TERM_GRACE_SECONDS
    found = Checkpoints(job.work / "checkpoints", "", lambda _: None).last_good(job.key)
    assert found is not None
    assert found.position.step == steps

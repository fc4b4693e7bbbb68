"""Which failure is behind which evidence. Texts and statuses are as the libraries and Kubernetes write them."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.contracts import Forecast, Row
from tasks.errors import BudgetRefused, EnvironmentUnusable, TrainingFailed, UsageError
from tasks.train import failures as kinds
from tasks.train.failure_report import failure_of, safe_traceback
from tasks.train.failures import KINDS, Evidence, PodEnd, classify, failure, of_pod, of_text

SECRET = "jane.doe@example.org wrote: my password is hunter2"

# Recorded: torch 2.x on CUDA, NCCL, gloo, the CPU allocator, glibc, safetensors, huggingface_hub, requests, botocore.
TEXTS = {
    kinds.OOM_GPU: [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB (GPU 0; 23.69 GiB total capacity)",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
    kinds.OOM_HOST: [
        "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "MemoryError",
        "OSError: [Errno 12] Cannot allocate memory",
        "RuntimeError: can't start new thread",
        "RuntimeError: could not create a primitive",
        "libgomp: Thread creation failed: Resource temporarily unavailable",
    ],
    kinds.DISK: [
        "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
        "OSError: [Errno 122] Disk quota exceeded",
        "sqlite3.OperationalError: database or disk is full",
    ],
    kinds.NCCL: [
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, remote process exited",
        "[rank0]: [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE)",
        "RuntimeError: [../third_party/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:51234",
        "RuntimeError: Gloo connectFullMesh failed with [../gloo/transport/tcp/pair.cc:144] no error",
        "torch.distributed.DistStoreError: Timed out after 61 seconds waiting for clients. 1/2 clients joined.",
    ],
    kinds.NETWORK: [
        "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub",
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url",
        "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL",
        "huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Unavailable for url",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
    ],
}


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in TEXTS.items() for text in texts])
def test_texts_of_libraries(code: str, text: str) -> None:
    found = of_text(f"something before\n{text}\nsomething after")
    assert found is not None
    assert found.code == code
    assert classify(Evidence(exit_code=1, log_tail=(text,))).code == code
    assert failure_of(RuntimeError(text)).code == code


def test_texts_of_people_are_no_signs() -> None:
    assert of_text(f"{SECRET}\nwe ran out of memory foam mattresses, no disk brakes left") is None


# status.containerStatuses[].state, status.reason and conditions of pods, as Kubernetes writes them
PODS = [
    (PodEnd(reason="OOMKilled", exit_code=137), kinds.OOM_KILLED),
    (PodEnd(reason="Error", exit_code=137, message="Memory cgroup out of memory: Killed process 1"), kinds.OOM_KILLED),
    (PodEnd(reason="Evicted", message="The node was low on resource: ephemeral-storage."), kinds.EVICTED),
    (PodEnd(reason="Evicted", message="The node was low on resource: memory. Threshold: 100Mi"), kinds.OOM_KILLED),
    (PodEnd(reason="Preempting", exit_code=143), kinds.EVICTED),
    (PodEnd(reason="Terminated", message="Pod was terminated in response to imminent node shutdown."), kinds.EVICTED),
    (PodEnd(reason="ErrImagePull", message='failed to pull image "tuneloop:9": not found'), kinds.IMAGE),
    (PodEnd(reason="ImagePullBackOff", message='Back-off pulling image "tuneloop:9"'), kinds.IMAGE),
    (PodEnd(reason="Unschedulable", message="0/4 nodes are available: 4 Insufficient nvidia.com/gpu."), kinds.CAPACITY),
    (PodEnd(reason="OutOfnvidia.com/gpu", message="Node didn't have enough resource: nvidia.com/gpu"), kinds.CAPACITY),
    (PodEnd(reason="DeadlineExceeded", message="Pod was active on the node longer than the deadline"), kinds.TIMEOUT),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "code"), PODS, ids=lambda value: getattr(value, "reason", ""))
def test_statuses_of_pods(pod: PodEnd, code: str) -> None:
    found = of_pod(pod.model_copy(update={"name": "train-0"}))
    assert found is not None
    assert (found.code, found.where) == (code, "pod train-0")
    assert classify(Evidence(exit_code=1, pods=(PodEnd(reason="Completed", exit_code=0), pod))).code == code


def test_a_pod_that_only_says_that_the_trainer_failed_leaves_it_to_the_trainer() -> None:
    assert of_pod(PodEnd(reason="Error", exit_code=1)) is None
    said = (failure(kinds.NAN, where="step 3"),)
    assert classify(Evidence(exit_code=30, pods=(PodEnd(reason="Error", exit_code=30),), said=said)).code == kinds.NAN


KILLED, STOPPED = -signal.SIGKILL, 128 + signal.SIGTERM
ENDINGS = [
    (Evidence(exit_code=KILLED, oom_kills=1), kinds.OOM_HOST),
    (Evidence(exit_code=137, oom_kills=1), kinds.OOM_HOST),
    (Evidence(exit_code=KILLED), kinds.KILLED),
    (Evidence(exit_code=STOPPED), kinds.STOPPED),
    (Evidence(exit_code=STOPPED, seconds=61, timeout_seconds=60), kinds.TIMEOUT),
    (Evidence(exit_code=KILLED, seconds=90, timeout_seconds=60), kinds.TIMEOUT),
    (Evidence(exit_code=-signal.SIGSEGV), kinds.CRASH),
    (Evidence(exit_code=-signal.SIGABRT, log_tail=("what():  std::bad_alloc",)), kinds.OOM_HOST),
    (Evidence(exit_code=1), kinds.CRASH),
]


@pytest.mark.parametrize(("evidence", "code"), ENDINGS)
def test_endings_that_nobody_explained(evidence: Evidence, code: str) -> None:
    found = classify(evidence.model_copy(update={"step": 7, "log": "train.log"}))
    assert found.code == code
    assert found.step == 7
    assert found.text
    assert found.remedy


def test_a_crash_says_how_it_ended_and_where_to_read() -> None:
    found = classify(Evidence(exit_code=-signal.SIGSEGV, log="train.log"))
    assert (found.why, found.where) == ("signal SIGSEGV", "train.log")


def test_a_lost_connection_is_not_the_cause_where_another_process_died_of_memory() -> None:
    lost = failure(kinds.NCCL, where="gloo")
    assert classify(Evidence(exit_code=1, said=(lost,))).code == kinds.NCCL
    assert classify(Evidence(exit_code=1, said=(lost,), oom_kills=1)).code == kinds.OOM_HOST
    assert classify(Evidence(exit_code=1, said=(lost, failure(kinds.DATA)))).code == kinds.DATA
    tail = ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",)
    assert classify(Evidence(exit_code=1, said=(lost,), log_tail=tail)).code == kinds.OOM_GPU


def test_what_the_trainer_says_of_errors_of_ours_stays_as_it_is() -> None:
    error = UsageError("w", where="x", why="y", remedy="z")
    said = failure_of(error)
    again = classify(Evidence(exit_code=2, said=(said,))).as_error()
    assert isinstance(again, UsageError)
    assert (again.code, again.what, again.where, again.why, again.remedy) == ("TL-USAGE", "w", "x", "y", "z")


def test_kinds_decide_the_exit_code() -> None:
    for code, exit_code in (
        (kinds.DISK, 50),
        (kinds.CAPACITY, 40),
        (kinds.COST, 40),
        (kinds.NAN, 30),
        (kinds.DATA, 30),
    ):
        error = failure(code).as_error()
        assert (error.code, error.exit_code) == (code, exit_code)
        assert pickle.loads(pickle.dumps(error)).code == code
    assert isinstance(failure(kinds.CAPACITY).as_error(), BudgetRefused)
    assert isinstance(failure(kinds.NETWORK).as_error(), EnvironmentUnusable)
    assert {k.error for k in KINDS.values()} <= {TrainingFailed, EnvironmentUnusable, BudgetRefused}


def test_numbers_of_the_operating_system() -> None:
    for number, code in ((errno.ENOSPC, kinds.DISK), (errno.ENOMEM, kinds.OOM_HOST), (errno.ETIMEDOUT, kinds.NETWORK)):
        assert failure_of(OSError(number, "text", "/there")).code == code
    assert failure_of(FileNotFoundError(errno.ENOENT, "No such file", "/x/train.jsonl")).code == kinds.DATA
    assert failure_of(FileNotFoundError(errno.ENOENT, "No such file", "/x/model.bin")).code == kinds.CRASH
    assert failure_of(MemoryError()).code == kinds.OOM_HOST


def test_the_cause_of_an_exception_counts() -> None:
    error = RuntimeError("could not save")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert failure_of(error).code == kinds.DISK


def test_the_class_that_cuda_raises() -> None:
    import torch

    assert failure_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")).code == kinds.OOM_GPU
    assert torch.cuda.OutOfMemoryError is torch.OutOfMemoryError


def test_nothing_that_a_row_says_is_told_or_logged() -> None:
    errors: list[Exception] = [ValueError(SECRET), KeyError(SECRET)]
    try:
        Row.model_validate_json(f'{{"row_id": 7, "answer": "{SECRET}"}}')
    except ValidationError as error:
        errors.append(error)
    for error in errors:
        said = failure_of(error).model_dump_json() + safe_traceback(error)
        assert "jane" not in said
        assert "hunter2" not in said
    assert failure_of(errors[-1]).code == kinds.DATA
    assert "row_id" in failure_of(errors[-1]).where


def test_a_record_that_is_no_row_does_not_blame_the_rows() -> None:
    with pytest.raises(ValidationError) as caught:
        Forecast.model_validate_json(f'{{"seconds": "{SECRET}"}}')
    found = failure_of(caught.value)
    assert found.code == kinds.CRASH
    assert found.where.startswith("Forecast: ")
    assert "jane" not in found.model_dump_json()


@pytest.mark.gpu
def test_a_gpu_that_has_no_memory_left() -> None:
    import torch

    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert failure_of(caught.value).code == kinds.OOM_GPU


_PEER = """
import sys
from datetime import timedelta
import torch
from tasks.train.failure_report import failure_of
rank = int(sys.argv[1])
limit = timedelta(seconds=60)
torch.distributed.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2, timeout=limit)
torch.distributed.all_reduce(torch.ones(1))
if rank == 1:
    import os
    os._exit(0)
try:
    for _ in range(100):
        torch.distributed.all_reduce(torch.ones(1000))
except RuntimeError as error:
    print(failure_of(error).code)
"""


@pytest.mark.slow
def test_a_peer_that_is_gone(tmp_path: Path) -> None:
    """Real gloo: one of two processes ends in the middle, the other says what it sees."""
    address = (tmp_path / "meet").as_uri()
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    peers = [
        subprocess.Popen(
            [sys.executable, "-c", _PEER, rank, address], stdout=subprocess.PIPE, env=environment, text=True
        )
        for rank in ("0", "1")
    ]
    said = [peer.communicate(timeout=120)[0].strip() for peer in peers]
    assert said[0] == kinds.NCCL

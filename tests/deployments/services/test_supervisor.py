"""The supervisor with real processes: order, restarts, changes of the request, and nothing that outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments.services import control, state
from deployments.services.launch import child_environment, marked
from deployments.services.ports import free_port
from deployments.services.spec import Ports, Request, request_file, write_request
from deployments.services.supervisor import TICK_SECONDS, Supervisor
from tasks.errors import EnvironmentUnusable

STACK = Path(__file__).with_name("fake_stack.py")


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def phases(home: Path) -> dict[str, str]:
    supervision = state.read(home)
    return {s.name: s.state for s in supervision.services} if supervision else {}


def service(home: Path, name: str) -> state.ServiceState:
    found = state.read(home)
    assert found is not None
    wanted = found.service(name)
    assert wanted is not None
    return wanted


class Stack:
    """A running fake stack."""

    def __init__(self, home: Path, mode: str = "") -> None:
        self.home = home
        self.want(mode)
        self.process = subprocess.Popen([sys.executable, str(STACK)], env=child_environment(home), cwd=home)

    def want(self, mode: str) -> None:
        request = Request(
            home=str(self.home), working_directory=str(self.home), model_name=mode,
            ports=Ports(prefect=free_port(), worker=free_port()),
        )  # fmt: skip
        write_request(request)

    def wait_healthy(self) -> None:
        wait_for(lambda: phases(self.home) == {"one": "healthy", "two": "healthy"})


@pytest.fixture
def stacks(home: Path) -> Iterator[Callable[[str], Stack]]:
    made: list[Stack] = []

    def start(mode: str = "") -> Stack:
        made.append(Stack(home, mode))
        return made[-1]

    yield start
    for stack in made:
        stack.process.kill()
        stack.process.wait()
    for process in marked(home):
        process.kill()


def test_starts_what_is_needed_first_and_ends_everything_on_sigterm(home: Path, stacks: Callable[..., Stack]) -> None:
    stack = stacks("")
    stack.wait_healthy()
    one, two = service(home, "one"), service(home, "two")
    assert one.started is not None
    assert two.started is not None
    assert one.started < two.started
    assert {p.pid for p in marked(home)} == {one.pid, two.pid}
    stack.process.terminate()
    assert stack.process.wait(30) == 0
    assert marked(home) == []
    assert not state.state_file(home).exists()
    assert list((home / "processes").glob("*.json")) == []


def test_a_crashed_service_is_started_again(home: Path, stacks: Callable[..., Stack]) -> None:
    stacks("").wait_healthy()
    killed = service(home, "two")
    psutil.Process(killed.pid).kill()
    wait_for(lambda: service(home, "two").restarts == 1)
    wait_for(lambda: service(home, "two").state == "healthy")
    assert service(home, "two").pid != killed.pid
    assert service(home, "one").restarts == 0


def test_a_service_that_cannot_start_is_given_up_and_says_why(home: Path, stacks: Callable[..., Stack]) -> None:
    stacks("broken")
    wait_for(lambda: phases(home).get("two") == "failed")
    failed = service(home, "two")
    assert failed.restarts == 4
    assert "exit code 1" in failed.reason
    assert "no such luck" in failed.reason
    assert service(home, "one").state == "healthy"


def test_a_stranger_on_the_port_of_one_service_leaves_the_others_alone(
    home: Path, stacks: Callable[..., Stack]
) -> None:
    stack = stacks("stranger")
    wait_for(lambda: phases(home).get("two") == "failed")
    assert stack.process.poll() is None
    assert "in use" in service(home, "two").reason
    one = service(home, "one")
    assert (one.state, one.restarts) == ("healthy", 0)


def test_a_service_that_cannot_be_looked_after_leaves_the_others_alone(
    home: Path, stacks: Callable[..., Stack], capfd: pytest.CaptureFixture[str]
) -> None:
    stack = stacks("unloggable")
    wait_for(lambda: phases(home).get("two") == "failed")
    assert stack.process.poll() is None
    assert "IsADirectoryError" in service(home, "two").reason
    one = service(home, "one")
    assert (one.state, one.restarts) == ("healthy", 0)
    logged = capfd.readouterr().err
    assert "two cannot be looked after" in logged
    assert "Traceback" in logged


@pytest.fixture
def alone(home: Path) -> Iterator[Supervisor]:
    """A supervisor that works in this process and has no services."""
    request = Request(home=str(home), working_directory=str(home), ports=Ports(prefect=1, worker=2))
    write_request(request)
    supervisor = Supervisor(home, lambda _: ())
    yield supervisor
    supervisor.stop()


def working(supervisor: Supervisor) -> threading.Thread:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    return thread


def test_a_state_that_cannot_be_written_ends_nothing_and_is_written_later(
    home: Path, alone: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    state.state_file(home).mkdir()
    thread = working(alone)
    wait_for(lambda: "cannot be written; it is tried again" in caplog.text)
    time.sleep(3 * TICK_SECONDS)
    assert thread.is_alive()
    assert caplog.text.count("cannot be written") == 1
    state.state_file(home).rmdir()
    wait_for(lambda: state.read(home) is not None)


def test_a_request_that_cannot_be_read_ends_nothing_and_is_followed_later(
    home: Path, alone: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    thread = working(alone)
    wait_for(lambda: state.read(home) is not None)
    request_file(home).write_text("{", encoding="utf-8")
    wait_for(lambda: "cannot be followed; it is tried again" in caplog.text)
    request = Request(home=str(home), working_directory="/elsewhere", ports=Ports(prefect=3, worker=4))
    write_request(request)
    wait_for(lambda: (now := state.read(home)) is not None and now.wanted == request.digest)
    assert thread.is_alive()


def test_a_home_that_was_deleted_wants_nothing(home: Path, alone: Supervisor) -> None:
    thread = working(alone)
    wait_for(lambda: state.read(home) is not None)
    home.rename(home.with_name("elsewhere"))
    thread.join(10)
    assert not thread.is_alive()


def test_children_end_with_a_killed_supervisor(home: Path, stacks: Callable[..., Stack]) -> None:
    stack = stacks("")
    stack.wait_healthy()
    stack.process.kill()
    wait_for(lambda: marked(home) == [], seconds=5)
    assert all(s.state == "stopped" for s in control.status())


def test_down_finds_what_outlived_a_killed_supervisor(home: Path, stacks: Callable[..., Stack]) -> None:
    stack = stacks("offspring")
    stack.wait_healthy()
    stack.process.kill()
    stack.process.wait()
    wait_for(lambda: [p.name() for p in marked(home)] == ["sleep"], seconds=5)
    assert any("left behind" in name for name in control.down().ended)
    assert marked(home) == []
    assert control.status() == ()


def test_only_one_supervisor_works_for_a_home(home: Path, stacks: Callable[..., Stack]) -> None:
    stacks("").wait_healthy()
    second = subprocess.run(
        [sys.executable, str(STACK)], env=child_environment(home), cwd=home, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    assert "another supervisor" in second.stderr
    assert phases(home) == {"one": "healthy", "two": "healthy"}


def test_a_changed_request_is_followed(home: Path, stacks: Callable[..., Stack]) -> None:
    stack = stacks("")
    stack.wait_healthy()
    before = service(home, "one")
    stack.want("offspring")
    wait_for(lambda: service(home, "one").port != before.port)
    stack.wait_healthy()
    assert not psutil.pid_exists(before.pid or os.getpid())


def test_up_waits_for_a_model_that_is_being_loaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "READY_SECONDS", 0.5)
    request = Request(home=str(home), working_directory=str(home), ports=Ports(prefect=1, worker=2))
    me = psutil.Process()

    def say(phase: state.Phase, reason: str) -> None:
        told = state.ServiceState(name="gateway", state=phase, log="gateway.log", reason=reason)
        state.write(
            home, state.Supervision(pid=me.pid, started=me.create_time(), wanted=request.digest, services=(told,))
        )

    say("starting", "loading")
    loaded = threading.Timer(2.0, say, ("healthy", ""))
    loaded.start()
    assert [s.state for s in control._wait(home, request, lambda _: None, ("gateway",))] == ["healthy"]
    loaded.join()
    say("starting", "no answer")
    with pytest.raises(EnvironmentUnusable, match="did not start"):
        control._wait(home, request, lambda _: None, ("gateway",))

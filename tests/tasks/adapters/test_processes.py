"""Children on a leash: they die with their parent, and leftovers are recognised."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tasks.adapters.processes import end_leftovers, is_alive, remember, run_worker

ECHO = """
from tasks.adapters.processes import die_with_parent, emit
die_with_parent()
import sys
emit({"kind": "hello", "arguments": sys.argv[1:]})
print("plain text")
sys.exit(7)
"""
SLEEPER = """
from tasks.adapters.processes import die_with_parent, emit
die_with_parent()
import os, time
emit({"pid": os.getpid()})
time.sleep(120)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(name: str, code: str) -> str:
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
        return name

    return write


def gone(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_events_arrive_and_the_rest_is_logged(tmp_path: Path, module) -> None:
    events = []
    code = run_worker(
        module("echo", ECHO), ["a", "b"], home=tmp_path, log_file=tmp_path / "log" / "x.log", on_event=events.append
    )
    assert code == 7
    assert events == [{"kind": "hello", "arguments": ["a", "b"]}]
    assert "plain text" in (tmp_path / "log" / "x.log").read_text()
    assert list((tmp_path / "processes").iterdir()) == []


def test_a_worker_over_its_time_is_ended(tmp_path: Path, module) -> None:
    events = []
    code = run_worker(
        module("sleeper", SLEEPER),
        [],
        home=tmp_path,
        log_file=tmp_path / "x.log",
        on_event=events.append,
        timeout_seconds=2,
    )
    assert code == -signal.SIGTERM
    assert gone(events[0]["pid"])


def test_a_worker_dies_with_a_parent_that_is_killed(tmp_path: Path, module) -> None:
    name = module("sleeper", SLEEPER)
    code = textwrap.dedent(f"""
        from pathlib import Path
        from tasks.adapters.processes import run_worker
        run_worker({name!r}, [], home=Path({str(tmp_path)!r}), log_file=Path({str(tmp_path / "x.log")!r}),
                   on_event=lambda e: print(e["pid"], flush=True))
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(worker)
    end_leftovers(tmp_path)
    assert list((tmp_path / "processes").iterdir()) == []


def test_leftovers_of_a_dead_parent_are_ended_and_others_left_alone(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    stranger = subprocess.Popen(["sleep", "60"])
    for process in (child, stranger):
        remember(tmp_path, process.pid, "sleep")
    note = tmp_path / "processes" / f"{child.pid}.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "parent": 2**22 + 1}))
    other = tmp_path / "processes" / f"{stranger.pid}.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "parent": 2**22 + 1, "started": 0.0}))
    assert end_leftovers(tmp_path) == ["sleep"]
    assert gone(child.pid)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_reused_process_number_is_not_the_same_process() -> None:
    me = psutil.Process()
    assert is_alive(me.pid, me.create_time())
    assert not is_alive(me.pid, me.create_time() - 100)
    assert not is_alive(2**22 + 1, 0.0)


def test_a_worker_that_does_not_hear_is_killed_after_its_time(tmp_path: Path, module) -> None:
    name = module(
        "deaf",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "from tasks.adapters.processes import emit\nemit({'deaf': True})\ntime.sleep(60)\n",
    )
    began = time.monotonic()
    limits = {"timeout_seconds": 3.0, "time_to_end": lambda: 0.5}
    code = run_worker(name, [], home=tmp_path, log_file=tmp_path / "log", on_event=lambda _: None, **limits)
    assert code == -signal.SIGKILL
    assert time.monotonic() - began < 15


SLOW_TO_END = """
import signal, sys, time
from pathlib import Path
from tasks.adapters.processes import emit
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
emit({"ready": True})
while not stop:
    time.sleep(0.05)
time.sleep(2)
Path(sys.argv[1]).write_text("saved")
sys.exit(143)
"""


def interrupt_it(_event: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("seconds", "saved"), [(0.2, False), (30.0, True)])
@pytest.mark.parametrize("timeout", [None, 3.0])
def test_a_worker_gets_the_time_that_it_needs_to_end(
    tmp_path: Path, module, seconds: float, saved: bool, timeout: float | None
) -> None:
    name, file = module("slow_to_end", SLOW_TO_END), tmp_path / "saved"
    common = {"home": tmp_path, "log_file": tmp_path / "log", "time_to_end": lambda: seconds}
    if timeout is None:
        with pytest.raises(KeyboardInterrupt):
            run_worker(name, [str(file)], on_event=interrupt_it, **common)
    else:
        code = run_worker(name, [str(file)], on_event=lambda _: None, timeout_seconds=timeout, **common)
        assert code == (143 if saved else -signal.SIGKILL)
    assert file.exists() == saved
    assert list((tmp_path / "processes").iterdir()) == []

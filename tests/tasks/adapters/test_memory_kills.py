"""The kernel's count of processes ended for lack of memory, as files of Linux show it."""

from pathlib import Path

import pytest

from tasks.adapters.memory_kills import oom_kills

V2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"
MACHINE = "nr_free_pages 100\noom_kill 7\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "vmstat").write_text(MACHINE)
    (tmp_path / "v2" / "pods" / "train").mkdir(parents=True)
    (tmp_path / "v2" / "pods" / "train" / "memory.events").write_text(V2)
    (tmp_path / "v1" / "memory" / "train").mkdir(parents=True)
    (tmp_path / "v1" / "memory" / "train" / "memory.oom_control").write_text(V1)
    return tmp_path


@pytest.mark.parametrize(
    ("cgroups", "own", "expected"),
    [
        ("v2", "0::/pods/train\n", 2),
        ("v1", "9:cpu:/\n4:memory:/train\n0::/\n", 5),
        ("v1", "0::/\n4:memory:/train\n", 5),
        ("none", "0::/\n", 7),
        ("none", "", 7),
    ],
)
def test_the_own_group_counts_before_the_machine(files: Path, cgroups: str, own: str, expected: int) -> None:
    (files / "own").write_text(own)
    assert oom_kills(files / cgroups, files / "own", files / "vmstat") == expected


def test_nothing_to_read_is_no_kill(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path / "own", tmp_path / "vmstat") == 0


def test_this_machine_has_a_count() -> None:
    assert oom_kills() >= 0

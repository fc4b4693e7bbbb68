from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tasks.adapters.sources import spool
from tests.tasks.adapters.sources.syncing import ROOT

CHILD = """
import sys
from tasks.adapters.sources.spool import temporary_file
with temporary_file("a.jsonl") as path:
    path.write_text("somebody's data")
    print(path, flush=True)
    sys.stdin.read()
"""


def test_a_temporary_file_is_its_owners_and_goes(home: Path) -> None:
    with spool.temporary_file("../../a b.jsonl") as path:
        assert path.parent == home / "work" / "spool"
        assert path.name.endswith("-a b.jsonl")
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_sweeping_leaves_what_is_in_use_and_takes_what_a_killed_process_left(home: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert child.stdout
    left = Path(child.stdout.readline().strip())
    with spool.temporary_file("mine.jsonl") as mine:
        assert spool.sweep() == 0
        child.kill()
        child.communicate()
        assert left.exists()
        assert spool.sweep() == 1
        assert not left.exists()
        assert mine.exists()

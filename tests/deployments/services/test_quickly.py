"""A module is run as `python -m` runs it, with rarer collections."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deployments.services.quickly import quickly

_SHOWN = "import gc, sys; print(__name__, sys.argv[1:], gc.get_threshold()[0]); raise SystemExit(7)"


def test_the_module_is_the_program(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(_SHOWN, encoding="utf-8")
    environment = {"PYTHONPATH": f"{Path.cwd()}:{tmp_path}"}
    done = subprocess.run([*quickly("shown"), "--port", "1"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (7, "__main__ ['--port', '1'] 50000"), done.stderr

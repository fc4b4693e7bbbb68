"""`tuneloop doctor`: can this machine run the loop, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import out, print_json
from deployments.environment import MIN_FREE_MB, use_home
from tasks.adapters.devices import cpu_multiplies_bf16
from tasks.settings import Settings

Verdict = Literal["ok", "warning", "failed"]
_PINNED = ("torch", "prefect", "mlflow", "great_expectations", "transformers", "trl", "peft", "bitsandbytes")
_GEMM_SIZE = 2048


class Check(NamedTuple):
    """One finding about the machine."""

    name: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Check the machine: platform, memory, disk, ports, packages, speed, base model."""
    home = use_home()
    checks = [look() for look in _looks(home)]
    failed = any(c.verdict == "failed" for c in checks)
    if as_json:
        print_json(
            {
                "status": "failed" if failed else "done",
                "exit_code": 50 if failed else 0,
                "checks": [c._asdict() for c in checks],
            }
        )
    else:
        _print(checks)
    raise typer.Exit(50 if failed else 0)


def _looks(home: Path) -> list[Callable[[], Check]]:
    settings = Settings()
    ports = {"Prefect": settings.prefect_port, "MLflow": settings.mlflow_port, "gateway": settings.gateway_port}
    return [
        _platform,
        _python,
        _memory,
        lambda: _disk(home),
        *[_port_look(name, port) for name, port in ports.items()],
        *[_package_look(name) for name in _PINNED],
        _cpu_bf16,
        _speed,
        _accelerator,
        _base_model,
    ]


def _platform() -> Check:
    seen = f"{platform.system()} {platform.machine()}"
    if seen == "Linux x86_64":
        return Check("platform", "ok", seen)
    return Check("platform", "warning", seen, "only Linux x86-64 has been tried")


def _python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check("python", "ok" if good else "failed", platform.python_version(), "" if good else "use Python 3.11+")


def _memory() -> Check:
    free_gb = psutil.virtual_memory().available / 1e9
    verdict: Verdict = "ok" if free_gb >= 6 else "warning"
    return Check("memory", verdict, f"{free_gb:.1f} GB available", "" if verdict == "ok" else "the example needs 6 GB")


def _disk(home: Path) -> Check:
    place = next(p for p in (home, *home.parents) if p.exists())
    free_mb = shutil.disk_usage(place).free / 1e6
    if not os.access(place, os.W_OK):
        return Check("home", "failed", f"{home} cannot be written", "set TUNELOOP_HOME to another folder")
    if free_mb < MIN_FREE_MB:
        return Check("disk", "failed", f"{free_mb:.0f} MB free at {home}", "free space or move TUNELOOP_HOME")
    return Check("disk", "ok", f"{free_mb / 1e3:.1f} GB free at {home}")


def _port_look(name: str, port: int) -> Callable[[], Check]:
    def look() -> Check:
        from deployments.services.ports import why_not

        why = why_not(port)
        if not why:
            return Check(f"port {port}", "ok", f"free for {name}")
        remedy = f"{name} moves to the next free one, or set TUNELOOP_{name.upper()}_PORT"
        return Check(f"port {port}", "warning", why, remedy)

    return look


def _package_look(name: str) -> Callable[[], Check]:
    def look() -> Check:
        try:
            return Check(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            return Check(name, "failed", "not installed", "pip install -c constraints.txt .")

    return look


def _cpu_bf16() -> Check:
    if cpu_multiplies_bf16():
        return Check("cpu", "ok", "bf16 instructions found")
    return Check("cpu", "ok", "no bf16 instructions: models are computed in fp32")


def gemm_gflops(seconds: float = 1.0) -> float:
    """Rate of matrix products of 2048² in the type that models are computed in, in GFLOP/s (2·n³ operations each).

    That of the median product: on a shared machine some of them wait for somebody else's.
    """
    import torch

    from tasks.inference.precision import native_precision, torch_type

    a = torch.randn(_GEMM_SIZE, _GEMM_SIZE, dtype=torch_type(native_precision("cpu")))
    a @ a
    each: list[float] = []
    end = time.perf_counter() + seconds
    while not each or time.perf_counter() < end:
        began = time.perf_counter()
        a @ a
        each.append(time.perf_counter() - began)
    return float(2 * _GEMM_SIZE**3 / statistics.median(each) / 1e9)


def _speed() -> Check:
    from tasks.inference.precision import native_precision

    rate = gemm_gflops()
    slow = rate < 300
    return Check(
        "speed",
        "warning" if slow else "ok",
        f"{rate:.0f} GFLOP/s in {native_precision('cpu')} products",
        f"times in the documents are for 830; expect {830 / rate:.1f} times as long" if slow else "",
    )


def _accelerator() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("accelerator", "ok", torch.cuda.get_device_name(0))
    return Check("accelerator", "ok", "none; the loop runs on the CPU")


def _base_model() -> Check:
    folder = Settings().models
    found = folder.exists() and any(folder.rglob("*.safetensors"))
    return Check("base model", "ok", f"cached in {folder}" if found else "not cached yet; the first run fetches 98 MB")


def _print(checks: list[Check]) -> None:
    marks = {"ok": "[green]✔[/]", "warning": "[yellow]![/]", "failed": "[red]✘[/]"}
    table = Table("", "check", "seen", "what to do", title="tuneloop doctor", header_style="bold")
    for c in checks:
        table.add_row(marks[c.verdict], c.name, Text(c.seen), Text(c.remedy))
    out.print(table)

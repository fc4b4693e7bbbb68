"""Real database servers of this machine, started for a test and gone after it."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

PASSWORD = "correct-horse-battery"


@dataclass(frozen=True)
class Database:
    """A server; `url` is what a configuration says, `admin` may write."""

    url: str
    admin: sa.Engine

    def run(self, statement: str) -> Any:
        with self.admin.begin() as connection:
            answer = connection.exec_driver_sql(statement)
            return answer.all() if answer.returns_rows else None

    def scalar(self, statement: str) -> Any:
        return self.run(statement)[0][0]


@contextlib.contextmanager
def postgres() -> Iterator[Database]:
    """A cluster made with initdb; skipped where PostgreSQL is not installed (in CI that is a failure)."""
    bins = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not bins:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with _folder("postgres") as (folder, user):
        secret = folder / "password"
        secret.write_text(PASSWORD)
        shutil.chown(secret, user)
        made = ["-D", folder / "data", "-U", "tuneloop", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run([bins[-1] / "initdb", *made], user=user, check=True, capture_output=True, cwd=folder)
        port = _free_port()
        command = [bins[-1] / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port), "-F"]
        with _server([*command, "-c", "listen_addresses=127.0.0.1"], folder, user):
            admin = sa.create_engine(f"postgresql+psycopg://tuneloop:{PASSWORD}@127.0.0.1:{port}/postgres")
            _wait_for(admin)
            yield Database(f"postgresql://tuneloop@127.0.0.1:{port}/postgres", admin)
            admin.dispose()


@contextlib.contextmanager
def mariadb() -> Iterator[Database]:
    """A MariaDB server with an empty data folder; skipped where it is not installed."""
    install, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
    if not install or not server:
        pytest.skip("MariaDB is not installed (Debian: apt-get install mariadb-server)")
    with _folder("mysql") as (folder, user):
        made = [install, "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"]
        subprocess.run(made, user=user, check=True, capture_output=True, cwd=folder)
        port = _free_port()
        options = [f"--datadir={folder / 'data'}", f"--socket={folder / 's'}", f"--port={port}"]
        with _server([server, "--no-defaults", *options, "--bind-address=127.0.0.1"], folder, user):
            root = sa.create_engine(f"mysql+pymysql://root@127.0.0.1:{port}/test?charset=utf8mb4")
            _wait_for(root)
            database = Database(f"mysql://reader@127.0.0.1:{port}/test", root)
            database.run(f"CREATE USER reader@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            database.run("GRANT ALL ON test.* TO reader@'127.0.0.1'")
            yield database
            root.dispose()


@contextlib.contextmanager
def _folder(wanted: str) -> Iterator[tuple[Path, str]]:
    """A short path that the server's user owns: these servers refuse to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="db-", dir="/tmp"))
    user = getpass.getuser()
    if os.geteuid() == 0:
        user = wanted if _exists(wanted) else "nobody"
        shutil.chown(folder, user)
    try:
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@contextlib.contextmanager
def _server(command: list[Any], folder: Path, user: str) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT if "postgres" in str(command[0]) else signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(engine: sa.Engine, seconds: float = 60) -> None:
    wait_until(lambda: _answers(engine), seconds)


def _answers(engine: sa.Engine) -> bool:
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql("SELECT 1").scalar() == 1
    except sa.exc.OperationalError:
        return False


def wait_until(reached: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)

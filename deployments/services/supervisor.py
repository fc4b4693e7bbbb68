"""The background process of `tuneloop up`: one per home, keeps the wanted services running.

TUNELOOP_HOME=... python -m deployments.services.supervisor

It starts what HOME/services-wanted.json asks for, restarts what crashes, follows changes of the request, writes
HOME/services.json, and ends everything in order on SIGTERM. Its children end with it, also after kill -9.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deployments.services import state
from deployments.services.child import Child
from deployments.services.launch import marked
from deployments.services.spec import Request, Service, read_request, request_file, services
from tasks.adapters.processes import end, end_leftovers
from tasks.settings import Settings

TICK_SECONDS = 0.2
log = logging.getLogger("tuneloop.supervisor")
ServicesOf = Callable[[Request], tuple[Service, ...]]


class Supervisor:
    """Keeps the services of one home as they are wanted.

    Args:
        home: absolute path of TUNELOOP_HOME.
        services_of: which services a request stands for.
        first_pause_seconds: before a crashed service is started again; it doubles from crash to crash.
    """

    def __init__(self, home: Path, services_of: ServicesOf = services, first_pause_seconds: float = 1.0) -> None:
        self.home, self.services_of, self.first_pause_seconds = home, services_of, first_pause_seconds
        self.children: list[Child] = []
        self.stopping = False
        self._request: Request | None = None
        self._seen = 0
        self._written: state.Supervision | None = None
        self._troubles: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stopping` is set, then end every service, the last one first."""
        try:
            while not self.stopping:
                self._attempt("the request cannot be followed", self._follow_request)
                self._tick()
                self._attempt("the state of the services cannot be written", self._write)
                time.sleep(TICK_SECONDS)
        finally:
            for child in reversed(self.children):
                log.info("ending %s", child.service.name)
                child.stop()
            state.remove(self.home)

    def stop(self, *_: object) -> None:
        """Signal handler: ask the loop to end."""
        self.stopping = True

    def _attempt(self, trouble: str, step: Callable[[], None]) -> None:
        """Take a step; the next tick repeats one that failed. That is said once, not with every tick."""
        try:
            step()
        except Exception as error:  # the services, and their trainings, go on: they do not need what failed here
            said = f"{type(error).__name__}: {error}"
            if self._troubles.get(trouble) != said:
                log.exception("%s; it is tried again", trouble)
            self._troubles[trouble] = said
        else:
            self._troubles.pop(trouble, None)

    def _follow_request(self) -> None:
        if not self.home.exists():
            log.warning("%s was deleted: nothing is wanted any more", self.home)
            self.stopping = True
            return
        changed = request_file(self.home).stat().st_mtime_ns
        if changed == self._seen:
            return
        request = read_request(self.home)
        if request != self._request:
            self._become(self.services_of(request))
        self._seen, self._request = changed, request

    def _become(self, wanted: tuple[Service, ...]) -> None:
        for child in [c for c in reversed(self.children) if c.service not in wanted]:
            log.info("ending %s: it is wanted differently or no longer", child.service.name)
            child.stop()
            self.children.remove(child)
        kept = {c.service.name: c for c in self.children}
        self.children = [kept.get(s.name) or Child(s, self.home, self.first_pause_seconds) for s in wanted]

    def _tick(self) -> None:
        for child in self.children:
            before = child.phase
            try:
                child.tick({c.service.name for c in self.children if c.phase == "healthy"})
            except Exception as error:  # trouble with one service must not end the others, and their trainings
                if child.stumbled(error):
                    log.exception("%s cannot be looked after", child.service.name)
            if child.phase != before:
                log.info("%s is %s %s", child.service.name, child.phase, child.reason)

    def _write(self) -> None:
        if self._request is None:
            return
        me = psutil.Process()
        now = state.Supervision(
            pid=me.pid, started=me.create_time(), wanted=self._request.digest,
            services=tuple(c.state() for c in self.children),
        )  # fmt: skip
        if now != self._written:
            state.write(self.home, now)
            self._written = now


@contextmanager
def only_one(home: Path) -> Iterator[bool]:
    """Hold the lock of this home's supervisor; False when another one has it."""
    lock = home / "locks" / "supervisor.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def main(services_of: ServicesOf = services, first_pause_seconds: float = 1.0) -> None:
    """Supervise the home that the settings name until SIGTERM."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = Settings().root
    with only_one(home) as mine:
        if not mine:
            raise SystemExit("another supervisor of this home is running")
        end_leftovers(home)
        for process in marked(home):  # of a supervisor that was killed
            if process.pid != os.getpid():
                end(process.pid)
        supervisor = Supervisor(home, services_of, first_pause_seconds)
        signal.signal(signal.SIGTERM, supervisor.stop)
        signal.signal(signal.SIGINT, supervisor.stop)
        supervisor.run()


if __name__ == "__main__":
    main()

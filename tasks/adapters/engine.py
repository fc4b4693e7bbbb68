"""Where the work on shards is done: in this process, in local worker processes, or on a Ray cluster.

The stages say *what* (a function of one item); the settings say *where*. Results come back in the order of the items
whatever finishes first, and only a few items are under way at once, so neither the result nor the memory depends on
the number of workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from tasks.adapters.cycles import collect_rarely
from tasks.errors import EnvironmentUnusable
from tasks.settings import Settings

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2  # items under way for each worker
_WORTH_A_WORKER = 4 << 20  # bytes of rows: a process starts, and loads tokenizer and language model, in their time


class Engine(Protocol):
    """Runs a function over items; the function and what it takes and gives must be picklable."""

    workers: int

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items. An exception of the function is raised here."""
        ...


class InProcess:
    """One item after the other, here."""

    workers = 1

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(function, items)


class LocalProcesses:
    """Worker processes on this machine; they end with the process that started them."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow, initargs=(os.getpid(),))

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(self._pool.submit(function, item))
                if len(pending) >= self.workers * _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise EnvironmentUnusable(
                "a worker process of the data stages was ended from outside",
                where=f"{self.workers} local workers",
                why="mostly the machine ran out of memory",
                remedy="set TUNELOOP_WORKERS to a smaller number and repeat the command: finished stages are kept",
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class OnRay:
    """Tasks on a Ray cluster that shares TUNELOOP_HOME and the sources with this machine."""

    def __init__(self, address: str) -> None:
        import ray

        self._ray = ray
        if not ray.is_initialized():
            settings = {n: v for n, v in os.environ.items() if n.startswith("TUNELOOP_") and not _is_secret(n)}
            ray.init(address=address, log_to_driver=False, logging_level="error", runtime_env={"env_vars": settings})
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        remote = self._ray.remote(max_retries=2)(_call)
        shared = self._ray.put(function)
        pending: deque[Any] = deque()
        for item in items:
            pending.append(remote.remote(shared, item))
            if len(pending) >= self.workers * _AHEAD:
                yield self._ray.get(pending.popleft())
        while pending:
            yield self._ray.get(pending.popleft())

    def close(self) -> None:
        self._ray.shutdown()


def _is_secret(name: str) -> bool:
    """Ray shows the environment of its tasks to whoever may ask it; keys lie in HOME, which all nodes see."""
    return "_SECRET_" in name or name.endswith("_KEY")


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)


@contextlib.contextmanager
def open_engine(items: int, size: int, worth_a_worker: int = _WORTH_A_WORKER) -> Iterator[Engine]:
    """The engine that the settings name, for about so many items of `size` bytes in all.

    A single item is not worth a process, and less than `worth_a_worker` bytes only where a number of workers is asked
    for.

    Raises:
        EnvironmentUnusable: Ray is asked for and not there.
    """
    settings = Settings()
    workers = min(settings.workers or min(_cores(), 1 + size // worth_a_worker), items)
    if settings.engine == "local" and workers <= 1:
        yield InProcess()
        return
    engine = LocalProcesses(workers) if settings.engine == "local" else _ray(settings.ray_address)
    try:
        yield engine
    finally:
        engine.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _ray(address: str) -> OnRay:
    try:
        return OnRay(address)
    except (ImportError, ConnectionError) as error:
        raise EnvironmentUnusable(
            "the Ray cluster cannot be used",
            where=f"TUNELOOP_ENGINE=ray, TUNELOOP_RAY_ADDRESS={address}",
            why=str(error),
            remedy="install tuneloop[ray] and start a cluster, or unset TUNELOOP_ENGINE",
        ) from error


def _follow(parent: int) -> None:
    """End this worker when the process that started it is gone; Ctrl-C is for the parent to answer."""
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""What the pods of a job print, heard by one caller while they print it."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.adapters.kubernetes_jobs import PodStatus

REST_SECONDS = 1.0
_LAST_WORDS_SECONDS = 10.0
_SILENCE_SECONDS = 300.0
"""After so long without a line the connection counts as lost: one that is cut half way never says so."""
_TRIES = 5


class LogReader:
    """Reads the log of every pod, each in a thread of its own; lines are passed on in the caller's thread.

    When the block ends, nobody reads on.
    """

    def __init__(self, core: Any, namespace: str, on_line: Callable[[str, PodStatus], None]) -> None:
        self.core, self.namespace, self.on_line = core, namespace, on_line
        self.threads: dict[str, threading.Thread] = {}
        self.lines: queue.SimpleQueue[tuple[str, PodStatus]] = queue.SimpleQueue()
        self.living: frozenset[str] = frozenset()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.living = frozenset()

    def look_at(self, pods: Sequence[PodStatus]) -> None:
        """Begin to read pods that are new, and learn which of them have ended."""
        self.living = frozenset(pod.name for pod in pods if pod.phase not in ("Succeeded", "Failed"))
        for pod in pods:
            if pod.name not in self.threads and pod.phase in ("Running", "Succeeded", "Failed"):
                self.threads[pod.name] = threading.Thread(
                    target=self._read, args=(pod,), daemon=True, name=f"log of {pod.name}"
                )
                self.threads[pod.name].start()

    def hear_last_words(self) -> None:
        """Wait a moment for what ended pods still have to say."""
        until = time.monotonic() + _LAST_WORDS_SECONDS
        for thread in self.threads.values():
            thread.join(timeout=max(0.0, until - time.monotonic()))

    def pass_on(self) -> None:
        """Hand over what has been read since the last time."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.on_line(*self.lines.get_nowait())

    def _read(self, pod: PodStatus) -> None:
        """Read a log again until that was done once after its pod had ended.

        A stream ends or breaks while the pod lives: a proxy or the node closes it. While it lives there is no limit to
        the tries; afterwards the pod may be gone, and its status tells what there is to tell.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        last, refused = "", 0
        while refused < _TRIES:
            ended = pod.name not in self.living  # asked first: what is printed while it is read counts too
            try:
                for stamp, line in self._later_than(last, pod.name):
                    last = max(last, stamp)
                    self.lines.put((line, pod))
                if ended:
                    return
            except (ApiException, HTTPError):
                refused += ended
            time.sleep(REST_SECONDS)

    def _later_than(self, last: str, pod: str) -> Iterator[tuple[str, str]]:
        """Lines with their times. Not told apart by their numbers: of a long log the node keeps only the end."""
        stream = self.core.read_namespaced_pod_log(
            pod,
            self.namespace,
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(10.0, _SILENCE_SECONDS),
        )
        for text in _lines(stream):
            stamp, _, line = text.partition(" ")
            if not stamp[:4].isdigit():  # a remark of the node's, such as that the log is not there yet
                continue
            if stamp > last:
                yield stamp, line


def _lines(stream: Any) -> Iterator[str]:
    rest = b""
    for piece in stream.stream():
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")

"""Ports of this machine: a busy preferred one moves to the next free one, a busy one that was asked for is an error."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

import psutil

from tasks.errors import EnvironmentUnusable

_TRIED = 200


class Chosen(NamedTuple):
    """A free port, with a note where it is not the preferred one."""

    port: int
    note: str = ""


def choose(name: str, *, asked: int | None, preferred: int, taken: frozenset[int] = frozenset()) -> Chosen:
    """A port for a service: exactly the one that was asked for, else the preferred one or the next free one.

    Raises:
        EnvironmentUnusable: the port that was asked for is used by somebody else or not allowed.
    """
    if asked is not None:
        why = why_not(asked) or ("another service was given the same port" if asked in taken else "")
        if why:
            raise EnvironmentUnusable(
                f"the port for {name} is not free", where=f"127.0.0.1:{asked}", why=why,
                remedy=f"end that process, or give another port with --{name}-port (or TUNELOOP_{name.upper()}_PORT)",
            )  # fmt: skip
        return Chosen(asked)
    if preferred not in taken and not (why := why_not(preferred)):
        return Chosen(preferred)
    for port in range(preferred + 1, min(preferred + _TRIED, 65536)):
        if port not in taken and not why_not(port):
            reason = "it is given to another service" if preferred in taken else why
            return Chosen(port, f"{name} listens on port {port} instead of {preferred}: {reason}")
    raise EnvironmentUnusable(
        f"no port is free for {name}", where=f"127.0.0.1:{preferred}-{preferred + _TRIED - 1}",
        why="all of them are used", remedy=f"give one with --{name}-port",
    )  # fmt: skip


def free_port() -> int:
    """Some free port above the range of well-known services, as the kernel gives it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def holder_of(port: int) -> str:
    """Which process listens on a port, in words; another user's process stays unnamed."""
    for connection in psutil.net_connections(kind="tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            try:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                break
    return "another process (of another user, or just ended)"


def why_not(port: int) -> str:
    """Empty when the port can be listened on, else the reason."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OverflowError:
            return "port numbers end at 65535"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"it is used by {holder_of(port)}"
            return error.strerror or "it cannot be listened on"
    return ""

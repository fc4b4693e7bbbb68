"""What the API server of a cluster answers where it does not do what it was asked, and how long that is borne."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from http import HTTPStatus

from tasks.errors import EnvironmentUnusable

log = logging.getLogger("tuneloop.train")
API_PATIENCE_SECONDS = 300.0
"""How long the API server may be away while a job is followed: the job trains on without it."""


class Unavailable(EnvironmentUnusable):
    """The API server has no answer now, and may have one in a moment."""


class Away:
    """Bears with an API server that does not answer while a job is followed, and says so, but not for ever."""

    def __init__(self, job: str) -> None:
        self.job, self.times, self.since = job, 0, 0.0

    @contextlib.contextmanager
    def borne(self) -> Iterator[None]:
        """Pass over what the server could not answer.

        Raises:
            EnvironmentUnusable: it has not answered for too long.
        """
        try:
            yield
        except Unavailable as error:
            self._count(error)
        else:
            if self.times:
                log.warning("the Kubernetes cluster answers again about %s; %d times in %.0f s it did not",
                            self.job, self.times, time.monotonic() - self.since)  # fmt: skip
            self.times = 0

    def _count(self, error: Unavailable) -> None:
        now = time.monotonic()
        if not self.times:
            self.since = now
            log.warning("the Kubernetes cluster cannot be asked about %s (%s); it is asked again for %.0f s",
                        self.job, error.why, API_PATIENCE_SECONDS)  # fmt: skip
        self.times += 1
        if now - self.since >= API_PATIENCE_SECONDS:
            why = f"{error.why}, {self.times} times in {now - self.since:.0f} s"
            raise EnvironmentUnusable(error.what, where=error.where, why=why, remedy=error.remedy) from error


@contextlib.contextmanager
def refusals_named(action: str, but: int = 0) -> Iterator[None]:
    """Turn an answer of the API server into the coded error; the status `but` is passed over.

    A server that is busy, broken or not there may answer later (`Unavailable`); what it does not allow, it never will.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status != but:
            raise _refusal(action, int(error.status or 0), str(error.reason)) from error
    except HTTPError as error:
        raise Unavailable(
            "the Kubernetes cluster does not answer", where=action, why=type(error).__name__,
            remedy="see whether the API server can be reached from here",
        ) from error  # fmt: skip


def _refusal(action: str, status: int, reason: str) -> EnvironmentUnusable:
    why = f"HTTP {status} {reason}"
    if not status or status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        remedy = "repeat the command when the API server answers again: `kubectl get --raw /readyz`"
        return Unavailable("the Kubernetes cluster has no answer", where=action, why=why, remedy=remedy)
    remedy = "see whether the account may do this: k8s/base/launcher-identity.yaml has the rules it needs"
    return EnvironmentUnusable("the Kubernetes cluster refused", where=action, why=why, remedy=remedy)

"""The model in memory: the champion, kept up to date, or one pinned version.

A thread looks at the champion's record every two seconds (one indexed read) and loads a new champion while the old
one goes on serving; the exchange is one assignment.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deployments.gateway.errors import ApiError
from tasks.adapters import registry, release_history, releases
from tasks.adapters.model_settings import context_tokens
from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.contracts import Message, ServedModel
from tasks.errors import TuneloopError
from tasks.inference.streaming import Finished
from tasks.privacy.config import PrivacyConfig
from tasks.privacy.redact import Redactor
from tasks.tokens import encode_prompt, load_tokenizer

POLL_SECONDS = 2.0
RETRY_SECONDS = 30.0
log = logging.getLogger("tuneloop.gateway")


class Answering(Protocol):
    """What the gateway needs of a loaded model."""

    def stream(
        self,
        messages: Sequence[Message],
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Generator[str, None, Finished]: ...


class PromptCounter:
    """Counts prompt tokens with a tokenizer of its own: one that several threads use at a time raises errors."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._lock = threading.Lock()

    def __call__(self, messages: Sequence[Message]) -> int:
        with self._lock:
            return len(encode_prompt(self._tokenizer, messages))


@dataclass(frozen=True)
class Loaded:
    """A version in memory, with what belongs to it."""

    served: ServedModel
    engine: Answering
    count_prompt: Callable[[Sequence[Message]], int]
    redactor: Redactor
    context_tokens: int
    since: int
    key_fingerprint: str = ""
    """Of the key of the redactor's subject hashes; empty where it makes none."""

    @property
    def model_id(self) -> str:
        return f"{self.served.name}@{self.served.version}"


def load(served: ServedModel) -> Loaded:
    """Load a version. Its log is freed of what its training data was freed of, and at least of the usual entities."""
    from tasks.inference.engine import Engine

    engine = Engine.load(served.base, Path(served.adapter_path), served.quantization)
    usual = PrivacyConfig()
    entities = tuple(dict.fromkeys((*usual.entities, *served.redacted_entities)))
    regions = tuple(dict.fromkeys((*usual.phone_regions, *served.phone_regions)))
    context = context_tokens(Path(served.base.path)) or sys.maxsize
    counter = PromptCounter(Path(served.base.path))
    key = pseudonym_key()
    redactor = Redactor(entities, regions, key=key)
    return Loaded(served, engine, counter, redactor, context, int(time.time()), fingerprint(key))


class ModelHolder:
    """Holds the model that answers.

    Args:
        name: registered name.
        version: pinned version; None follows the champion.
        make: loads a version; slow.
    """

    def __init__(self, name: str, version: int | None, make: Callable[[ServedModel], Loaded] = load) -> None:
        self.name, self.version = name, version
        self._make = make
        self._loaded: Loaded | None = None
        self._error = ""
        self._wanted: int | None = version
        self._looked = version is not None
        self._retry_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="model-poller")

    def start(self) -> None:
        """Begin to load and follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a load in progress is not waited for."""
        self._stopped.set()

    def get(self, model_id: str) -> Loaded:
        """The loaded model, if it goes by this id: `<name>` or `<name>@<version>`."""
        known, *_ = model_id.partition("@")
        if known != self.name:
            raise _unknown(model_id)
        loaded = self._loaded
        if loaded is None:
            raise ApiError(503, self._why_not(), "model_not_ready", retry_after_seconds=5)
        if model_id not in self.ids(loaded):
            raise _unknown(model_id)
        return loaded

    def listed(self) -> tuple[tuple[str, int], ...]:
        """Ids that answer now, each with the time it was loaded (Unix seconds)."""
        loaded = self._loaded
        return () if loaded is None else tuple((model_id, loaded.since) for model_id in self.ids(loaded))

    def ids(self, loaded: Loaded) -> tuple[str, ...]:
        """A pinned version goes by its number only; the champion also by the plain name."""
        return (loaded.model_id,) if self.version is not None else (self.name, loaded.model_id)

    def status(self) -> dict[str, Any]:
        """What /health says."""
        loaded, wanted = self._loaded, self._wanted
        if loaded is not None:
            state = "serving"
        elif self._error:
            state = "failed"
        else:
            state = "no_champion" if wanted is None and self._looked else "loading"
        return {
            "status": state,
            "model": self.name,
            "version": loaded.served.version if loaded else None,
            "adapter_digest": loaded.served.adapter_digest if loaded else None,
            "loading_version": wanted if loaded is None or loaded.served.version != wanted else None,
            "error": self._error or None,
        }

    def _why_not(self) -> str:
        reasons = {
            "no_champion": f"No version of {self.name} has been promoted yet.",
            "loading": f"{self.name} is being loaded.",
        }
        return reasons.get(self.status()["status"], f"{self.name} could not be loaded; /health has the reason.")

    def _follow(self) -> None:
        reconciled = self.version is not None
        while not self._stopped.is_set():
            try:
                if not reconciled:
                    releases.reconcile(self.name)
                    reconciled = True
                self._look()
            except Exception as error:
                # The old model goes on serving, whatever is wrong with the new one; /health and the log say so.
                self._error = _in_words(error)
                log.exception("looking for the champion of %s failed", self.name)
            self._stopped.wait(POLL_SECONDS)

    def _look(self) -> None:
        """Load what should serve, if it does not yet."""
        wanted = self.version if self.version is not None else _champion_version(self.name)
        if wanted != self._wanted:
            self._wanted, self._retry_at = wanted, 0.0
        self._looked = True
        serving = self._loaded.served.version if self._loaded else None
        if wanted is None or wanted == serving:
            self._error = ""
            return
        if time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + RETRY_SECONDS
        served = registry.served(self.name, wanted)
        if served is None:
            self._error = f"version {wanted} is not in the registry"
            return
        self._loaded = self._make(served)
        self._error = ""
        log.warning("serving %s@%s", self.name, wanted)


def _champion_version(name: str) -> int | None:
    champion = release_history.champion(name)
    return champion.version if champion else None


def _in_words(error: Exception) -> str:
    if isinstance(error, TuneloopError):
        return f"{error.code}: {error.what}" + (f": {error.why}" if error.why else "")
    return f"{type(error).__name__}: the log has the details"


def _unknown(model_id: str) -> ApiError:
    message = f"The model '{model_id[:80]}' does not exist here; GET /v1/models lists what does."
    return ApiError(404, message, "model_not_found", param="model")

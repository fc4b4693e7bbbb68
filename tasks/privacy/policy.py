"""From the configuration to the record that travels with rows, and from that record to a redactor in any process."""

from __future__ import annotations

from tasks.adapters.pseudonym_key import fingerprint
from tasks.adapters.row_files import Privacy
from tasks.errors import UsageError
from tasks.privacy.config import PrivacyConfig
from tasks.privacy.redact import Redactor


def privacy_record(config: PrivacyConfig, key: bytes) -> Privacy:
    """What is written beside the rows: what was looked for, what was done, and which key was used."""
    return Privacy(
        entities=config.looked_for,
        phone_regions=config.phone_regions,
        actions=dict(sorted(config.actions.items())),
        key_fingerprint=fingerprint(key) if key else "",
    )


def redactor_of(privacy: Privacy, key: bytes) -> Redactor:
    """The redactor that does what the record says.

    Raises:
        UsageError: the rows were made with another key: their pseudonyms and subject hashes would not match.
    """
    if privacy.key_fingerprint and privacy.key_fingerprint != fingerprint(key):
        raise UsageError(
            "the pseudonym key is another one than these rows were made with",
            where=f"key {fingerprint(key)}, rows made with {privacy.key_fingerprint}",
            why="TUNELOOP_PSEUDONYM_KEY or HOME/keys/pseudonym.key changed",
            remedy="set the key the rows were made with, or ingest the sources again",
        )
    return Redactor(privacy.entities, privacy.phone_regions, privacy.actions, key)

"""Keys of the gateway."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tasks.adapters import api_keys
from tasks.errors import EnvironmentUnusable


def test_only_known_keys_are_verified(home: Path) -> None:
    key = api_keys.create_key("a")
    assert len(key) >= 43
    assert api_keys.verify(key)
    assert not api_keys.verify(key[:-1])
    assert not api_keys.verify("")
    assert not api_keys.verify("\udcff")
    api_keys.revoke(key)
    assert not api_keys.verify(key)


def test_the_key_itself_is_not_in_the_database(home: Path) -> None:
    key = api_keys.create_key("a")
    assert not [p for p in home.rglob("*") if p.is_file() and key.encode() in p.read_bytes()]


def test_a_key_file_is_made_once_and_private(home: Path) -> None:
    path = home / "keys" / "gateway.key"
    key = api_keys.ensure_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert api_keys.ensure_key_file(path) == key == api_keys.read_key_file(path)
    path.write_text("tl-unknown")
    renewed = api_keys.ensure_key_file(path)
    assert renewed not in (key, "tl-unknown")
    assert api_keys.verify(renewed)


def test_a_missing_or_unknown_key_file_is_a_coded_error(home: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="no key"):
        api_keys.read_key_file(home / "none")
    (home / "other").write_text("tl-other")
    with pytest.raises(EnvironmentUnusable, match="no valid key"):
        api_keys.read_key_file(home / "other")


def test_a_temporary_key_ends_with_its_block(home: Path) -> None:
    with api_keys.temporary_key("a test") as key:
        assert api_keys.verify(key)
    assert not api_keys.verify(key)

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.errors import EnvironmentUnusable, UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELOOP_HOME", str(tmp_path))
    monkeypatch.delenv("TUNELOOP_PSEUDONYM_KEY", raising=False)
    return tmp_path


def test_key_is_made_once_and_only_its_owner_reads_it(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonym_key(), range(16)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    path = home / "keys" / "pseudonym.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["pseudonym.key"]


def test_setting_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_PSEUDONYM_KEY", "s" * 40)
    assert pseudonym_key() == b"s" * 40
    assert not (home / "keys").exists()


def test_short_setting_is_refused_without_showing_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_PSEUDONYM_KEY", "hunter2")
    with pytest.raises(UsageError) as error:
        pseudonym_key()
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("content", ["", "no key", "abcd"])
def test_broken_file_is_an_error(home: Path, content: str) -> None:
    path = home / "keys" / "pseudonym.key"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(EnvironmentUnusable):
        pseudonym_key()


def test_fingerprint_tells_keys_apart_and_not_what_they_are() -> None:
    assert fingerprint(b"a" * 32) == fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
    assert len(fingerprint(b"a" * 32)) == 16

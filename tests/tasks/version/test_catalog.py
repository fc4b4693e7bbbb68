from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.adapters.store import MARKER, Store
from tasks.errors import UsageError
from tasks.version import catalog
from tasks.version.content import ALL, CARD, IMAGE, MANIFEST, PROFILE, TEST, TRAIN
from tasks.version.verify import verify
from tests.tasks.version.versions import some_rows, versioned

FILES = (ALL, TRAIN, TEST, PROFILE, CARD, IMAGE, MANIFEST, MARKER)


def test_versions_are_listed_and_found(home: Path) -> None:
    versioned(some_rows(20))
    second = versioned(some_rows(21))
    versioned(some_rows(20), project="other")
    assert [e.address for e in catalog.list_versions("proj")] == ["ds://proj/main@1.0.0", "ds://proj/main@1.1.0"]
    assert len(catalog.list_versions()) == 3
    for address in ("ds://proj/main", "ds://proj/main@latest", "ds://proj/main@1.1.0"):
        assert catalog.find(address) == second
    assert catalog.manifest_of(second.address, Store.open()).train_rows == 16


@pytest.mark.parametrize("address", ["main@1.0.0", "ds://proj/main@9.9.9", "ds://proj/main@x", "ds://proj/none"])
def test_wrong_addresses(home: Path, address: str) -> None:
    versioned(some_rows(20))
    with pytest.raises(UsageError) as error:
        catalog.find(address)
    assert error.value.where == address


def test_a_version_is_shown_with_its_card(home: Path) -> None:
    made = versioned(some_rows(20))
    version, card = catalog.show(made.address, Store.open())
    assert (version.address, version.train_rows, version.new) == (made.address, 16, False)
    assert card.startswith("# ds://proj/main")


def test_an_old_version_is_brought_back(home: Path) -> None:
    store = Store.open()
    first = versioned(some_rows(20))
    versioned(some_rows(21))
    back = catalog.rollback(first.address, store)
    assert (back.version, back.digest) == ("1.2.0", first.digest)
    assert catalog.manifest_of(back.address, store).restores == "ds://proj/main@1.0.0 after 1.1.0"
    assert verify(back.address, store) == []
    with pytest.raises(UsageError, match="already"):
        catalog.rollback(first.address, store)


@pytest.mark.parametrize("group_by", ["", "customer"])
def test_a_version_that_trains_on_what_is_held_out_now_is_not_brought_back(home: Path, group_by: str) -> None:
    customer = {"metadata": {"customer": "c"}}
    first = versioned([*some_rows(20), *some_rows(1, first=101, **customer)], group_by=group_by)
    later = some_rows(1, first=200, **customer) if group_by else some_rows(1, first=101)
    versioned([*some_rows(20), later[0].model_copy(update={"split": "test"})], group_by=group_by)
    with pytest.raises(UsageError, match="trains on rows"):
        catalog.rollback(first.address, Store.open())


def test_rows_that_an_erasure_took_are_missed_in_words(home: Path) -> None:
    made = versioned(some_rows(20))
    (Store.open().path(made.uri) / ALL).unlink()
    with pytest.raises(UsageError, match="not there any more"):
        catalog.rows_path(made, Store.open())


def test_a_sound_version_has_no_fault(home: Path) -> None:
    made = versioned(some_rows(20, metadata={"customer": "x"}), group_by="customer")
    assert verify(made.address, Store.open()) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.31, 0.5, 0.77, 0.9999])
def test_one_flipped_byte_is_found_in_every_file(home: Path, name: str, place: float) -> None:
    made = versioned(some_rows(20))
    path = Store.open().path(made.uri) / name
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(bytes(data))
    assert name in {fault.file for fault in verify(made.address, Store.open())}


def test_every_single_byte_of_manifest_and_marker_counts(home: Path) -> None:
    made = versioned(some_rows(6))
    for name in (MANIFEST, MARKER):
        path = Store.open().path(made.uri) / name
        data = path.read_bytes()
        for place in range(0, len(data), 37):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert name in {fault.file for fault in verify(made.address, Store.open())}
        path.write_bytes(data)
    assert verify(made.address, Store.open()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(home: Path, name: str) -> None:
    made = versioned(some_rows(20))
    (Store.open().path(made.uri) / name).unlink()
    assert name in {fault.file for fault in verify(made.address, Store.open())}


def test_a_file_too_many_is_found(home: Path) -> None:
    made = versioned(some_rows(20))
    (Store.open().path(made.uri) / "more.jsonl").write_text("")
    assert "more.jsonl" in {fault.file for fault in verify(made.address, Store.open())}


def rewrite(made: object, name: str, text: str) -> None:
    """Change a file and everything in its folder that says what its SHA-256 is."""
    from tasks.digest import digest_file

    folder = Store.open().path(made.uri)  # type: ignore[attr-defined]
    (folder / name).write_text(text, encoding="utf-8")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = digest_file(folder / name)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    marker = json.loads((folder / MARKER).read_text())
    marker["files"] |= {n: digest_file(folder / n) for n in (name, MANIFEST)}
    (folder / MARKER).write_text(json.dumps(marker, indent=1))


def test_rows_are_counted_again_whatever_the_digests_say(home: Path) -> None:
    made = versioned(some_rows(20))
    lines = (Store.open().path(made.uri) / ALL).read_text().splitlines(keepends=True)
    rewrite(made, ALL, "".join(lines[1:]))
    said = {(f.file, f.what) for f in verify(made.address, Store.open())}
    assert (MANIFEST, "its digest is not what the database says") in said
    assert {(ALL, "the identity is not the manifest's"), (ALL, "the number of rows is not the manifest's")} <= said
    assert (TEST, "does not hold the rows of its split") in said


def test_held_out_prompts_have_to_be_in_the_ledger(home: Path) -> None:
    from tasks.adapters import ledger

    made = versioned(some_rows(20))
    with ledger.engine().begin() as connection:
        connection.execute(ledger.holdout.delete())
    (fault,) = verify(made.address, Store.open())
    assert (fault.file, fault.what) == ("ledger", "4 held-out prompts are not in the holdout ledger")

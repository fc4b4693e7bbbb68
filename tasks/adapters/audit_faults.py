"""What was done to a chain of entries: which ones were changed, put in, moved, taken out or cut off. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from tasks.contracts import Record

Link = tuple[int, str, str, Callable[[int], str]]  # seq, previous digest, digest, digest as another number
Named = tuple[int, str]  # seq and digest of an entry that was the newest once
_REACH = 64  # places in both directions in which an entry that does not fit is looked for


class Fault(Record):
    """One thing that is wrong, with the entries it is about."""

    kind: Literal["changed", "inserted", "moved", "missing", "cut", "unanchored"]
    first: int = Field(description="Number of the first entry concerned.")
    last: int
    words: str = Field(description="What is wrong, for people.")


def chain_faults(links: Sequence[Link], heads: Sequence[Named]) -> list[Fault]:
    """Faults by number of entry.

    An entry is genuine where its digest is right: at its own number, or at another one, from which it was moved then.
    """
    genuine: dict[int, Link] = {}
    strangers: list[Link] = []
    moved: list[tuple[int, int]] = []
    for link in links:
        place = _place(link)
        if place is None or place in genuine:
            strangers.append(link)
            continue
        genuine[place] = link
        if place != link[0]:
            moved.append((place, link[0]))
    rewritten = _rewritten(genuine, heads)
    holes = set(range(1, max([0, *genuine, *(seq for seq, _ in heads)]) + 1)) - genuine.keys()
    changed = sorted(({link[0] for link in strangers} & holes) | rewritten)
    inserted = sorted(link[0] for link in strangers if link[0] not in holes)
    tail = max([0, *genuine, *changed])
    faults = [_fault("changed", run, "not what was written") for run in _runs(changed)]
    faults += [_fault("inserted", run, "put in later: nothing follows") for run in _runs(inserted)]
    faults += [_fault("missing", run, "missing") for run in _runs(sorted(h for h in holes - set(changed) if h < tail))]
    faults += [_fault("cut", run, "cut off from the end") for run in _runs(sorted(h for h in holes if h > tail))]
    faults += list(_moves(moved))
    return sorted(faults, key=lambda fault: (fault.first, fault.kind))


def _place(link: Link) -> int | None:
    """The number at which the entry's digest is right; None if there is none near."""
    seq, _, digest, computed = link
    for distance in range(_REACH + 1):
        for place in {seq - distance, seq + distance}:
            if place >= 1 and computed(place) == digest:
                return place
    return None


def _rewritten(genuine: dict[int, Link], heads: Sequence[Named]) -> set[int]:
    """Entries with a fitting digest of their own that the next entry, or a head, does not follow: written anew."""
    found = {
        place - 1
        for place, link in genuine.items()
        if place > 1 and place - 1 in genuine and genuine[place - 1][2] != link[1]
    }
    if 1 in genuine and genuine[1][1]:
        found.add(1)
    return found | {seq for seq, digest in heads if seq in genuine and genuine[seq][2] != digest}


def _moves(moved: Sequence[tuple[int, int]]) -> Iterator[Fault]:
    """Neighbours that moved by the same distance are one fault."""
    ordered = sorted(moved)
    start = 0
    for end in range(1, len(ordered) + 1):
        if end < len(ordered) and _follows(ordered[end - 1], ordered[end]):
            continue
        (first, now), (last, _) = ordered[start], ordered[end - 1]
        words = f"{_names((first, last))} moved: now at number {now}"
        yield Fault(kind="moved", first=first, last=last, words=words + (" and on" if last > first else ""))
        start = end


def _follows(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] == one[0] + 1 and other[1] == one[1] + 1


def _fault(
    kind: Literal["changed", "inserted", "moved", "missing", "cut", "unanchored"], run: tuple[int, int], words: str
) -> Fault:
    verb = "is" if run[0] == run[1] else "are"
    return Fault(kind=kind, first=run[0], last=run[1], words=f"{_names(run)} {verb} {words}")


def _names(run: tuple[int, int]) -> str:
    return f"entry {run[0]}" if run[0] == run[1] else f"entries {run[0]} to {run[1]}"


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs

"""What may go and what stays, without any store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters.garbage import References, Stored, Verdict, decide

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
NOBODY = References(versions={}, adapters={})


def output(name: str, days: float | None = 30, **values: object) -> Stored:
    used = None if days is None else NOW - timedelta(days=days)
    return Stored.model_validate({"uri": f"store://{name}", "bytes": 5, "used": used, "complete": True, **values})


def verdicts(outputs: list[Stored], references: References = NOBODY) -> dict[str, Verdict]:
    return {v.uri.removeprefix("store://"): v for v in decide(outputs, references, NOW, WEEK)}


def test_what_nothing_refers_to_goes_and_says_why() -> None:
    found = verdicts([output("process/a"), output("ingest/torn", complete=False), output("document/x", None)])
    assert {name: v.why for name, v in found.items() if v.goes} == {
        "process/a": "nothing refers to it",
        "ingest/torn": "was never finished",
        "document/x": "nothing refers to it",
    }


def test_versions_adapters_verdicts_and_the_quarantine_stay() -> None:
    references = References(
        versions={"store://version/a": "ds://p/main@1.0.0"},
        adapters={"d" * 64: "p/1"},
        validation="store://validate/newest",
    )
    outputs = [
        output("version/a"), output("version/unknown"), output("version/torn", complete=False),
        output("train/mine", adapter="d" * 64), output("train/refused", adapter="e" * 64), output("gate/x"),
        output("evaluate/x"), output("validate/newest"), output("validate/older"), output("answers/x"),
    ]  # fmt: skip
    found = verdicts(outputs, references)
    gone = {name for name, verdict in found.items() if verdict.goes}
    assert gone == {"version/torn", "train/refused", "validate/older", "answers/x"}
    assert found["version/a"].why == "rows of ds://p/main@1.0.0"
    assert found["train/mine"].why == "adapter of p/1"


def test_what_was_used_lately_stays_with_everything_that_holds_its_rows() -> None:
    outputs = [
        output("ingest/new", 1, shards=("store://document/a", "store://ingest/middle")),
        output("ingest/middle", shards=("store://document/b", "store://gone/c")),
        output("document/a"),
        output("document/b"),
        output("document/c"),
    ]
    found = verdicts(outputs)
    assert {name for name, verdict in found.items() if verdict.goes} == {"document/c"}
    assert found["document/b"].why == "holds rows of store://ingest/middle"


NAMES = st.sampled_from([f"{stage}/{key}" for stage in ("version", "document", "ingest", "train") for key in "abcd"])
OUTPUTS = st.lists(
    st.builds(
        lambda name, days, complete, shards: output(
            name, days, complete=complete, shards=tuple(f"store://{s}" for s in shards)
        ),
        NAMES,
        st.one_of(st.none(), st.floats(0, 60)),
        st.booleans(),
        st.lists(NAMES, max_size=3),
    ),
    unique_by=lambda made: made.uri,
    max_size=12,
)


@given(OUTPUTS)
def test_nothing_that_stays_points_at_what_goes(outputs: list[Stored]) -> None:
    found = {v.uri: v for v in decide(outputs, NOBODY, NOW, WEEK)}
    assert set(found) == {o.uri for o in outputs}
    for made in outputs:
        if not found[made.uri].goes:
            assert not any(found[uri].goes for uri in made.shards if uri in found)

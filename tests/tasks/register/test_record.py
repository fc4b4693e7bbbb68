"""What the registry is told, and the card people read."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.config import RunConfig
from tasks.register.record import entry, flatten
from tests.tiny_release import CONFIG, NAME, make_evidence

_leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
_tree = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), inner, min_size=1, max_size=3)
    ),
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), _tree, max_size=4))
def test_flattening_keeps_every_leaf_once(config: dict[str, object]) -> None:
    def leaves(value: object) -> int:
        if isinstance(value, dict):
            return sum(map(leaves, value.values()))
        return sum(map(leaves, value)) if isinstance(value, list) else 1

    pairs = list(flatten(config))
    assert len(dict(pairs)) == len(pairs) == leaves(config)


def test_a_whole_configuration_flattens() -> None:
    config = RunConfig.model_validate({"project": "p", "data": {"sources": [{"path": "a"}, {"path": "b"}]}})
    flat = dict(flatten(config.model_dump(mode="json")))
    assert flat["data.sources.1.path"] == "b"
    assert flat["gate.min_rows"] == "30"
    assert all(len(key) < 250 for key in flat)


def test_lineage_scores_and_files(home: Path, tiny_model: Path) -> None:
    evidence = make_evidence(tiny_model, 1)
    told = entry(NAME, evidence, CONFIG, '{"files": []}')
    assert told.tags["compared_with"] == ""
    assert json.loads(told.tags["phone_regions"]) == ["BR"]
    assert told.metrics["tuned.perplexity"] == 3.0
    assert told.metrics["gain_over_base.low"] == 0.4
    assert "tuned.retention" not in told.metrics
    assert {point.key for point in told.curve} == {"train.loss", "train.learning_rate", "train.tokens"}
    assert set(told.texts) == {
        "model_card.md",
        "gate.md",
        "gate.json",
        "evaluation.json",
        "recipe.json",
        "config.yaml",
        "dataset_manifest.json",
    }


def test_what_was_worked_out_is_kept_with_its_reason(home: Path, tiny_model: Path) -> None:
    recipe = {"rank": "8 (auto: by data size, 50 rows)", "seed": "17 (default)", "unusual": "epochs 40 is outside"}
    evidence = make_evidence(tiny_model, 1)
    evidence = evidence.model_copy(update={"trained": evidence.trained.model_copy(update={"recipe": recipe})})
    told = entry(NAME, evidence, CONFIG, "{}")
    assert json.loads(told.texts["recipe.json"]) == recipe
    card = told.texts["model_card.md"]
    assert "rank: 8 (auto: by data size, 50 rows)" in card
    assert "epochs 40 is outside" in card
    assert "17 (default)" not in card


def test_the_card_says_where_it_comes_from_and_what_was_not_measured(home: Path, tiny_model: Path) -> None:
    evidence = make_evidence(tiny_model, 1)
    card = entry(NAME, evidence, CONFIG, "{}").texts["model_card.md"]
    for part in (evidence.dataset.digest, evidence.trained.base.digest, "## Gate: passed", "| gain | yes |", "50.0%"):
        assert part in card
    assert "not measured" in card
    assert "off: short run" in card


def test_it_is_compared_with_the_champion_of_its_evaluation(home: Path, tiny_model: Path) -> None:
    evidence = make_evidence(tiny_model, 1)
    against = evidence.model_copy(update={"report": evidence.report.model_copy(update={"champion_version": 4})})
    assert entry(NAME, against, CONFIG, "{}").tags["compared_with"] == "4"


def test_what_any_source_was_freed_of_is_told_to_the_gateway(home: Path, tiny_model: Path) -> None:
    sources = [
        {"path": "a.jsonl", "privacy": {"entities": ["SECRET"], "phone_regions": ["JP"]}},
        {"path": "b.jsonl", "privacy": {"entities": [], "names_and_addresses": True, "phone_regions": []}},
        {"path": "c.jsonl"},
    ]
    data = RunConfig.model_validate({**CONFIG, "data": {**CONFIG["data"], "sources": sources}}).model_dump(mode="json")
    tags = entry(NAME, make_evidence(tiny_model, 1), data, "{}").tags
    assert json.loads(tags["redacted_entities"]) == ["EMAIL_ADDRESS", "SECRET", "PERSON", "ADDRESS"]
    assert json.loads(tags["phone_regions"]) == ["BR", "JP"]


def test_the_card_says_how_the_base_was_asked(home: Path, tiny_model: Path) -> None:
    evidence = make_evidence(tiny_model, 1)
    noted = evidence.report.model_copy(update={"notes": ("It was shown at least 1.",)})
    told = entry(NAME, evidence.model_copy(update={"report": noted}), CONFIG, "{}")
    assert "- It was shown at least 1.\n" in told.texts["model_card.md"]

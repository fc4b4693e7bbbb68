"""Whether a candidate may be released: a pure decision with one reason per rule.

Rules about being better (than the base, the majority answer, the nearest row) need proof: the lower bound of the 95%
interval of the paired difference has to clear the bar. That the two systems' own intervals are apart is not asked for:
pairing by row already removes what both share.

The rule about the champion asks that the candidate is not worse beyond a margin. Its paired mean has to stay within the
margin; its lower bound need not, since on a few hundred rows chance alone is wider than a margin of two points, and
two equally good models could then never replace each other. The sentence says what loss is not excluded. In return a
candidate that does not meet the margin is refused even if chance could explain it: the burden of proof is its own.

Retention rests on about two dozen questions; the rule is meant for large losses, and its sentence says so.
"""

from __future__ import annotations

import math

from tasks.contracts import Estimate, EvalReport, GateDecision, GateReason
from tasks.gate.config import GateConfig

_CANDIDATE, _BASE, _CHAMPION = "tuned", "base", "champion"
_NAMES = {"majority": "always giving the most frequent answer", "nearest": "copying the answer of the nearest row"}
_METRICS = {"exact_match": "exact match", "token_f1": "token F1"}
_ROUNDING = 1e-9


def decide(report: EvalReport, config: GateConfig) -> GateDecision:
    """Judge the candidate of a report. Passed means that every rule holds."""
    reasons = [_comparison(report, config)]
    if reasons[0].passed:
        reasons += [
            _enough_rows(report, config),
            _min_score(report, config),
            _gain_over_base(report, config),
            _baseline("majority", report, config.beat_majority),
            _baseline("nearest", report, config.beat_nearest),
            _champion(report, config),
            _retention(report, config),
        ]
    return GateDecision(passed=all(r.passed for r in reasons), reasons=tuple(reasons))


def _comparison(report: EvalReport, config: GateConfig) -> GateReason:
    """Nothing can be decided where a system that a rule needs is missing, or where a number is none."""
    wanted = [_BASE, *(["majority"] if config.beat_majority else []), *(["nearest"] if config.beat_nearest else [])]
    missing = [n for n in (_CANDIDATE, *wanted) if n not in report.systems]
    missing += [n for n in report.systems if n != _CANDIDATE and n not in report.differences]
    numbers = [x for d in report.differences.values() for x in (d.mean, d.low, d.high)]
    broken = not all(math.isfinite(x) for x in numbers)
    problem = f"it lacks {', '.join(dict.fromkeys(missing))}" if missing else "some differences are not numbers"
    if missing or broken or report.rows == 0:
        problem = problem if missing or broken else "it has no rows"
        return GateReason(rule="comparison", passed=False, text=f"The comparison cannot be used: {problem}.")
    names = ", ".join(report.systems)
    return GateReason(
        rule="comparison", passed=True, text=f"All systems answered the same {report.rows} rows: {names}."
    )


def _enough_rows(report: EvalReport, config: GateConfig) -> GateReason:
    passed = report.rows >= config.min_rows
    text = f"{report.rows} held-out rows were compared; at least {config.min_rows} are needed to prove anything."
    return GateReason(rule="enough_rows", passed=passed, text=text)


def _min_score(report: EvalReport, config: GateConfig) -> GateReason:
    score: Estimate = getattr(report.systems[_CANDIDATE], report.metric)
    passed = score.mean >= config.min_score - _ROUNDING
    text = (
        f"The candidate reaches {_share(score.mean)} {_METRICS[report.metric]} (95% interval {_span(score)}); "
        f"required are at least {_share(config.min_score)}."
    )
    return GateReason(rule="min_score", passed=passed, text=text)


def _gain_over_base(report: EvalReport, config: GateConfig) -> GateReason:
    gain = report.differences[_BASE]
    text = (
        f"The candidate is {_compared(gain, report)} the untrained base model with its prompt; "
        f"the lower bound has to be above {_points(config.min_gain_over_base)}."
    )
    return GateReason(rule="gain_over_base", passed=gain.low > config.min_gain_over_base, text=text)


def _baseline(name: str, report: EvalReport, required: bool) -> GateReason:
    rule = f"beats_{name}"
    if not required:
        return GateReason(rule=rule, passed=True, text=f"Beating {_NAMES[name]} was not asked for (gate.beat_{name}).")
    gain = report.differences[name]
    text = f"The candidate is {_compared(gain, report)} {_NAMES[name]}; the lower bound has to be above zero."
    return GateReason(rule=rule, passed=gain.low > 0, text=text)


def _champion(report: EvalReport, config: GateConfig) -> GateReason:
    rule = "not_worse_than_champion"
    if _CHAMPION not in report.differences:
        return GateReason(rule=rule, passed=True, text="There is no champion yet to compare with.")
    change = report.differences[_CHAMPION]
    text = (
        f"The candidate is {_compared(change, report)} the champion; on these rows it may be at most "
        f"{_points(config.max_loss_to_champion)} worse. A true loss of up to {_points(max(0.0, -change.low))} "
        "is not excluded."
    )
    return GateReason(rule=rule, passed=change.mean >= -config.max_loss_to_champion - _ROUNDING, text=text)


def _retention(report: EvalReport, config: GateConfig) -> GateReason:
    rule = "retention"
    before, after = report.systems[_BASE].retention, report.systems[_CANDIDATE].retention
    if before is None or after is None:
        return GateReason(rule=rule, passed=True, text="General knowledge was not probed (evaluate.retention is off).")
    if before == 0:
        text = "The base model answered none of the general-knowledge questions: there was nothing to keep."
        return GateReason(rule=rule, passed=True, text=text)
    kept = after / before
    text = (
        f"The candidate answers {_share(after)} of the general-knowledge questions, the base {_share(before)}: "
        f"{_share(kept)} are kept, at least {_share(config.min_retention_share)} are required. "
        "The probe is small (two dozen questions) and shows large losses only."
    )
    return GateReason(rule=rule, passed=kept >= config.min_retention_share - _ROUNDING, text=text)


def _compared(difference: Estimate, report: EvalReport) -> str:
    """`64.7 points of exact match (paired 95% interval +55.5 to +72.5) better than`."""
    direction = "better than" if difference.mean >= 0 else "worse than"
    interval = f"paired 95% interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
    return f"{_points(abs(difference.mean))} of {_METRICS[report.metric]} ({interval}) {direction}"


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"


def _span(estimate: Estimate) -> str:
    return f"{_share(estimate.low)} to {_share(estimate.high)}"


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"

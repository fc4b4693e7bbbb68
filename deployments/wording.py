"""Numbers and hostile text in the words that terminal and summary page share."""

from __future__ import annotations

from tasks.contracts import Estimate, RunOutcome

SYSTEM_ORDER = ("majority", "nearest", "base", "champion", "tuned")
SYSTEM_WORDS = {
    "majority": "majority answer",
    "nearest": "nearest row",
    "base": "base",
    "champion": "champion",
    "tuned": "tuned",
}
STATUS_WORDS = {
    "done": "done",
    "unchanged": "unchanged: nothing new, nothing trained",
    "refused": "refused",
    "data_refused": "the data was refused",
    "failed": "failed",
    "waiting_for_approval": "waiting for approval",
    "interrupted": "interrupted",
}


def status_in_words(outcome: RunOutcome) -> str:
    """How the run ended."""
    if outcome.status == "refused" and outcome.gate and not outcome.gate.passed:
        return "refused by the gate"
    return STATUS_WORDS[outcome.status]


def reasons_to_show(outcome: RunOutcome) -> tuple[str, ...]:
    """The outcome's reasons that no other part shows: the gate lists its own, and a release has its sentence."""
    gate = outcome.gate.refusals if outcome.gate else ()
    release = (outcome.release.text,) if outcome.release else ()
    return tuple(reason for reason in outcome.reasons if reason not in (*gate, *release))


def printable(text: str) -> str:
    """Text without control characters: what comes from data must not steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float) -> str:
    """`84.6`, in percent without the sign."""
    return f"{100 * share:.1f}"


def interval(estimate: Estimate, signed: bool = False) -> str:
    """`77.5–89.7`, or with signs `+55.5 to +72.5`."""
    if signed:
        return f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"
    return f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"


def systems_in_order(outcome: RunOutcome) -> list[str]:
    """Names of the compared systems, the candidate last; systems of other names before it."""
    names = outcome.evaluation.systems if outcome.evaluation else {}
    others = [n for n in names if n not in SYSTEM_ORDER]
    return [n for n in (*SYSTEM_ORDER[:-1], *others, SYSTEM_ORDER[-1]) if n in names]


def reasons_in_words(reasons: dict[str, int]) -> str:
    """`near_duplicate 6, broken_line 2`, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{printable(name)} {count}" for name, count in ordered)


def model_in_words(outcome: RunOutcome) -> str:
    """`support_desk version 3 @champion`, or what else became of the candidate."""
    if outcome.registered is None:
        return "not registered"
    alias = f" @{outcome.registered.alias}" if outcome.registered.alias else ""
    return f"{printable(outcome.registered.name)} version {outcome.registered.version}{alias}"

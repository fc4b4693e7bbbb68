"""Which change of a training answers which failure, where one is safe. Pure.

Safe means: the rows of each step, their order and the effective batch stay as they were, and what did change is written
into the job. Only a loss that explodes has its learning rate lowered: there the run as it was has no result at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from tasks.train import failures as kinds
from tasks.train.amendments import Amendment, rate_factor
from tasks.train.failures import Failure
from tasks.train.next_attempt import Attempt, Plan, Stop

MEMORY = (kinds.OOM_GPU, kinds.OOM_HOST, kinds.OOM_KILLED)
LOSS = (kinds.NAN, kinds.SPIKE)
LONGEST_WAIT_SECONDS = 600.0  # ten minutes after an interruption training goes on
_FIRST_WAIT_SECONDS = {kinds.NETWORK: 5.0, kinds.CAPACITY: 60.0}
_REJOIN_SECONDS = 10.0
_RATE_AFTER_PROGRESS, _RATE_FROM_START = 0.5, 0.1
_EARLY_STEPS, _EARLY_SHARE = 20, 0.1  # so little work that beginning anew costs less than a second failure
_SMALLEST_RATE = 1e-3

Remedy = Callable[[Failure, Attempt, Sequence[Attempt]], Plan | Stop]


def remedy_for(found: Failure, attempt: Attempt, history: Sequence[Attempt]) -> Plan | Stop:
    """The change that answers this failure, or why there is none."""
    return _REMEDIES.get(found.code, _none)(found, attempt, history)


def _none(found: Failure, _attempt: Attempt, _history: Sequence[Attempt]) -> Stop:
    return Stop(failure=found, reason="the same would happen again")


def _less_memory(found: Failure, attempt: Attempt, history: Sequence[Attempt]) -> Plan | Stop:
    """Half the micro-batch; from the second time on, or where it is one row, activations are computed again as well."""
    rows, again = attempt.micro_batch_rows, any(a.code in MEMORY for a in history)
    half = rows // 2 if rows > 1 else None
    recompute: Literal["on"] | None = "on" if (again or half is None) and not attempt.activation_checkpointing else None
    if half is None and recompute is None:
        why = "one row at a time was too much, with activations computed again"
        return Stop(failure=found.model_copy(update={"why": f"{found.why}; {why}"}), reason=why)
    changes = [_in_pieces(attempt.batch_rows, rows, half)] if half else []
    changes += ["activations are computed again instead of kept"] if recompute else []
    change = "; ".join(changes)
    amendment = Amendment(
        from_step=attempt.newest,
        micro_batch_rows=half,
        activation_checkpointing=recompute,
        code=found.code,
        reason=change,
    )
    return Plan(change=change, amendments=(amendment,))


def _in_pieces(batch: int, rows: int, half: int) -> str:
    before, after = -(-batch // rows), -(-batch // half)
    return f"micro-batch {rows} → {half} rows, accumulation {before} → {after}: the same {batch} rows a step"


def _lower_rate(found: Failure, attempt: Attempt, _history: Sequence[Attempt]) -> Plan | Stop:
    """Back to a checkpoint from before the loss went wrong, with a lower rate from there on.

    A checkpoint after which the very next step failed is passed over, and so is one that an earlier repair went back
    to: what is wrong was there already. A loss that goes wrong early says that the rate is far too high: back to the
    beginning with a tenth of it.
    """
    at = attempt.reached_step if found.step is None else found.step
    if at == 0 and found.code == kinds.NAN:
        why = "the very first step has no loss: nothing was learned yet, so the weights or the data are damaged"
        return Stop(failure=found.model_copy(update={"why": why}), reason=why)
    tried = {a.from_step for a in attempt.amendments if a.learning_rate_factor}
    early = at <= max(_EARLY_STEPS, _EARLY_SHARE * attempt.steps)
    good = [step for step in attempt.checkpoints if step < at and step not in tried and not early]
    back = max(good, default=0)
    factor = _RATE_AFTER_PROGRESS if back else _RATE_FROM_START
    if factor * rate_factor(attempt.amendments, attempt.reached_step) < _SMALLEST_RATE:
        return Stop(failure=found, reason="a much lower rate did not help")
    change = f"back to step {back}, learning rate × {factor:g} from there on"
    amendment = Amendment(from_step=back, learning_rate_factor=factor, code=found.code, reason=change)
    return Plan(change=change, amendments=(amendment,), go_back_to=back)


def _wait(found: Failure, attempt: Attempt, history: Sequence[Attempt]) -> Plan:
    """Again after a time that grows threefold, up to ten minutes."""
    seconds = min(LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS[found.code] * 3 ** _same_before(found, history))
    return Plan(change=f"tried again after {seconds:.0f} s, {_from(attempt)}", wait_seconds=seconds)


def _rejoin(found: Failure, attempt: Attempt, history: Sequence[Attempt]) -> Plan:
    """Again at once; from the second time on after some seconds, in which ports and peers become free."""
    seconds = _REJOIN_SECONDS if _same_before(found, history) else 0.0
    return Plan(change=f"all processes started again {_from(attempt)}", wait_seconds=seconds)


def _again(_found: Failure, attempt: Attempt, _history: Sequence[Attempt]) -> Plan:
    return Plan(change=f"started again {_from(attempt)}")


def _after_crash(found: Failure, attempt: Attempt, history: Sequence[Attempt]) -> Plan | Stop:
    """A signal can come from the machine; the same one at the same step, or an exception, comes from the program."""
    before = [a for a in history if a.code == found.code and a.reached_step == attempt.reached_step]
    if attempt.exit_code >= 0 or before:
        return _none(found, attempt, history)
    return _again(found, attempt, history)


def _same_before(found: Failure, history: Sequence[Attempt]) -> int:
    """How many attempts in a row just before this one failed in the same way."""
    count = 0
    while count < len(history) and history[-1 - count].code == found.code:
        count += 1
    return count


def _from(attempt: Attempt) -> str:
    return f"from the checkpoint of step {attempt.newest}" if attempt.newest else "from the beginning"


_REMEDIES: dict[str, Remedy] = {
    **dict.fromkeys(MEMORY, _less_memory),
    **dict.fromkeys(LOSS, _lower_rate),
    kinds.NETWORK: _wait,
    kinds.CAPACITY: _wait,
    kinds.NCCL: _rejoin,
    kinds.EVICTED: _again,
    kinds.KILLED: _again,
    kinds.CRASH: _after_crash,
}
REPAIRABLE = tuple(_REMEDIES)

"""The process that asks the models: `python -m tasks.evaluate.worker PLAN.json`. Runs where Prefect is absent.

Every system's answers become a stage output of their own, so that a base model is asked once per dataset version and
configuration. Sends events: `progress` while it works, `error` with a coded error before it ends badly.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.adapters.cycles import collect_rarely
from tasks.adapters.processes import die_with_parent, emit
from tasks.adapters.store import Store, write_atomically
from tasks.contracts import Message, Record, Row
from tasks.errors import EvaluationFailed, TuneloopError
from tasks.evaluate import retention
from tasks.evaluate.fields import find_form
from tasks.evaluate.metrics import perplexity
from tasks.evaluate.plan import ANSWERS_STAGE, AnswerLine, Plan, ProbeLine, System, SystemAnswers
from tasks.evaluate.prompts import Fits, base_prompts, choose_examples
from tasks.evaluate.rows import messages_digest, read_split, sample

if TYPE_CHECKING:
    from tasks.inference.engine import Engine

Report = Callable[[str, int, int], None]
_MARGIN_TOKENS = 16


def main(arguments: Sequence[str]) -> int:
    """Ask every system of the plan; the exit code is 0 or that of the coded error."""
    collect_rarely()
    die_with_parent()
    plan = Plan.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        answer_all(Store.open(), plan, _emit_progress)
    except TuneloopError as error:
        emit(
            {
                "event": "error",
                "code": error.code,
                "what": error.what,
                "where": error.where,
                "why": error.why,
                "remedy": error.remedy,
            }
        )
        return error.exit_code
    return 0


def answer_all(store: Store, plan: Plan, report: Report) -> dict[str, SystemAnswers]:
    """Answers of every system of the plan by its name; what the store has already is not asked again."""
    return {
        system.name: store.produce(
            ANSWERS_STAGE,
            system.key(plan.dataset, plan.config),
            SystemAnswers,
            functools.partial(_ask, store, plan, system, report=report),
        )
        for system in plan.systems
    }


def longest_answer(tokenizer: object, training: Sequence[Row]) -> int:
    """Tokens that the longest training answer takes, its end token included, and a small margin."""
    from tasks.tokens import encode_answer

    return max(len(encode_answer(tokenizer, row.prompt, row.answer, row.tools)) for row in training) + _MARGIN_TOKENS


def _ask(store: Store, plan: Plan, system: System, folder: Path, *, report: Report) -> SystemAnswers:
    from tasks.inference.engine import Engine

    data, config = store.path(plan.dataset.uri), plan.config
    training, rows = read_split(data, "train"), sample(read_split(data, "test"), config.max_rows, config.seed)
    report(f"{system.name}: loading", 0, len(rows))
    engine = Engine.load(system.base, Path(system.adapter) if system.adapter else None, system.quantization)
    limit = config.max_new_tokens or longest_answer(engine.tokenizer, training)
    prompts, notes = _prompts(system, rows, training, plan, functools.partial(_fits, engine, limit))
    began = time.monotonic()
    answers = engine.generate(
        prompts,
        limit,
        config.batch_rows,
        on_progress=lambda done, total: report(f"{system.name}: answering", done, total),
        tools=[row.tools for row in rows],
    )
    seconds = (time.monotonic() - began) / len(rows)
    _write(
        folder / "answers.jsonl",
        [
            AnswerLine(row=messages_digest(row.messages), answer=_storable(answer))
            for row, answer in zip(rows, answers, strict=True)
        ],
    )
    report(f"{system.name}: loss of the reference answers", len(rows), len(rows))
    return SystemAnswers(
        uri=store.uri(ANSWERS_STAGE, system.key(plan.dataset, config)),
        rows=len(rows),
        max_new_tokens=limit,
        perplexity=_perplexity(engine, system, rows, config.batch_rows),
        retention=_probe(engine, folder, config.batch_rows) if config.retention else None,
        seconds_per_answer=seconds,
        computed_in=engine.precision,
        notes=notes,
    )


def _prompts(
    system: System, rows: Sequence[Row], training: Sequence[Row], plan: Plan, fits: Fits
) -> tuple[list[tuple[Message, ...]], tuple[str, ...]]:
    if not system.described:
        return [row.prompt for row in rows], ()
    form = find_form([row.answer for row in training], plan.config.fields)
    examples = choose_examples(training, form, plan.config.examples_for_base)
    return base_prompts(rows, form, examples, fits)


def _fits(engine: Engine, limit: int, prompt: Sequence[Message], tools: str) -> bool:
    """Whether prompt and answer lie within the positions that the model was trained on."""
    from tasks.tokens import encode_prompt

    positions: int = getattr(engine.model.config.get_text_config(), "max_position_embeddings", sys.maxsize)
    return len(encode_prompt(engine.tokenizer, prompt, tools)) + limit <= positions


def _perplexity(engine: Engine, system: System, rows: Sequence[Row], batch_rows: int) -> float:
    try:
        talks, tools = [row.messages for row in rows], [row.tools for row in rows]
        return perplexity(engine.answer_losses(talks, batch_rows, tools=tools))
    except ValueError as error:
        raise EvaluationFailed(
            f"the {system.name} model gives no usable losses",
            where=system.adapter or system.base.path,
            why=str(error),
            remedy="lower train.learning_rate; the weights probably diverged",
        ) from error


def _probe(engine: Engine, folder: Path, batch_rows: int) -> float:
    probes = retention.load_probes()
    answers = engine.generate([p.prompt for p in probes], retention.MAX_NEW_TOKENS, batch_rows)
    lines = [
        ProbeLine(question=p.question, answer=_storable(a), right=retention.is_right(a, p))
        for p, a in zip(probes, answers, strict=True)
    ]
    _write(folder / "retention.jsonl", lines)
    return sum(line.right for line in lines) / len(lines)


def _storable(text: str) -> str:
    """Text without lone surrogates, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _write(path: Path, lines: Sequence[Record]) -> None:
    write_atomically(path, "".join(line.model_dump_json() + "\n" for line in lines))


def _emit_progress(text: str, done: int, total: int) -> None:
    emit({"event": "progress", "text": text, "done": done, "total": total})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The README of a deployment package. Pure."""

from __future__ import annotations

from tasks.contracts import ServedModel
from tasks.register.package_merge import MergeDifference

_STORED = {"nf4": "in 4 bits (NF4)", "int8": "in 8 bits", "none": "in bf16"}


def readme(served: ServedModel, merged: MergeDifference | None, *, adapter: bool, model: bool) -> str:
    """How to run the package, what is in it, and what merging changed."""
    parts = (
        f"# {served.name}, version {served.version}\n\nTrained on `{served.dataset}` from `{served.base.name}`.",
        _how_to_run(served, adapter=adapter, model=model),
        _contents(adapter=adapter, model=model),
        _merging(served, merged) if merged else "",
        f"## Identity\n\n- adapter digest `{served.adapter_digest}`\n- base model digest `{served.base.digest}`",
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _how_to_run(served: ServedModel, *, adapter: bool, model: bool) -> str:
    lines = [
        "## Run it",
        "",
        "    python -m venv env && env/bin/pip install -r requirements.txt",
        f'    env/bin/python answer.py "A question"{"" if model else _base_option(served)}',
        f"    env/bin/python answer.py --prompts prompts.jsonl --json{'' if model else _base_option(served)}",
    ]
    if adapter and model:
        lines += ["", "`--adapter` answers with the adapter over the base model in place of the merged weights."]
    if adapter:
        lines += ["", f"The adapter was trained beside base weights stored {_STORED[served.quantization]}; the script"]
        lines += ["loads them the same way."]
    return "\n".join(lines)


def _base_option(served: ServedModel) -> str:
    return "" if served.base.name.startswith("hf:") else " --base FOLDER_OF_THE_BASE_MODEL"


def _contents(*, adapter: bool, model: bool) -> str:
    rows = [("answer.py", "answers questions; needs requirements.txt, not Tuneloop")]
    rows += [("adapter/", "the adapter as it was trained, in PEFT's form")] if adapter else []
    rows += (
        [("model/", "all weights in bf16 (safetensors), for any server that reads transformers' form")] if model else []
    )
    rows += [
        ("tokenizer/", "tokenizer and the chat template of the training"),
        ("prompts.jsonl", "example prompts from held-out rows, personal data replaced"),
        ("package.json", "what the script has to know"),
        ("MODEL_CARD.md", "where the model comes from and how it scored"),
    ]
    return "\n".join(["## Contents", "", "| | |", "| --- | --- |", *(f"| `{name}` | {what} |" for name, what in rows)])


def _merging(served: ServedModel, found: MergeDifference) -> str:
    why = {
        "nf4": "Training saw base weights rounded to 4 bits; the merged weights hold the unrounded ones.",
        "int8": "Training saw base weights rounded to 8 bits; the merged weights hold the unrounded ones.",
        "none": "Base and adapter are added up and rounded to bf16 once more.",
    }[served.quantization]
    return "\n".join(
        [
            "## What merging changed",
            "",
            f"{why} Both were asked for the answers of the same {found.rows} held-out rows:",
            "",
            f"- same answer, letter for letter: {found.same_answers:.0%} of the rows",
            f"- mean loss of the reference answers: {found.loss_before:.4f} with the adapter, "
            f"{found.loss_after:.4f} merged ({found.loss_after - found.loss_before:+.4f})",
        ]
    )

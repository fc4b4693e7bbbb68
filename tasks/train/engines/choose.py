"""How several processes share a training: chosen from what it needs and what the machine has, with the reason. Pure.

single   one process
ddp      every process has the whole model; gradients of what is learned are summed
fsdp2    the weights are split over the GPUs and travel layer by layer (PyTorch)
zero2    every process has the whole model, but only its part of gradients and optimiser (DeepSpeed)
zero3    weights, gradients and optimiser are all split (DeepSpeed)
"""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable, UsageError
from tasks.train.plan import Decision, Decisions
from tasks.train.recipe import Recipe
from tasks.train.share import SPLIT

_WEIGHTS_SPLIT = ("fsdp2", "zero3")
# Bytes that one process holds for each weight of the base model; full: fp32 weight, gradient and two moments.
_BYTES_PER_WEIGHT = {"qlora": 0.57, "lora_8bit": 1.03, "lora": 2.0, "dora": 2.0, "full": 16.0}
_ROOM = 1.3  # activations, adapter and working copies, as a multiple of the weights
# With split weights every token is a pass that all processes take together: the first to end its answers would leave
# the others waiting for its parts.
_SAMPLES_ALONE = "each process samples answers of its own, as long as they become, and needs all weights for it"
_OVERHEAD_BYTES = 2e9  # the device's context and libraries


class Hardware(Record):
    """The devices that training may use."""

    gpus: int = Field(0, ge=0, description="CUDA devices.")
    gpu_bytes: int = Field(0, ge=0, description="Memory of the smallest of them.")


class Choice(Record):
    """An engine, and with how many processes."""

    engine: Decision
    processes: int = Field(ge=1)


def choose(recipe: Recipe, parameters: int, hardware: Hardware) -> Choice:
    """The engine of a training.

    Raises:
        EnvironmentUnusable: what was asked for is not possible on these devices.
        UsageError: what was asked for contradicts itself.
    """
    _refuse_impossible(recipe, hardware)
    needed = needed_bytes(recipe, parameters)
    text = f"about {needed / 1e9:.1f} GB are needed, {_has(hardware)}"
    fits = hardware.gpus == 0 or needed <= hardware.gpu_bytes
    processes = recipe.processes or _usual_processes(recipe, hardware, fits)
    engine = _engine(recipe, processes, fits, text)
    _refuse_contradictions(recipe, engine.value)
    return Choice(engine=engine, processes=processes)


def _engine(recipe: Recipe, processes: int, fits: bool, text: str) -> Decision:
    if recipe.engine != "auto":
        return Decision(value=recipe.engine, reason="configured")
    if processes == 1:
        return Decision(value="single", reason=f"one process; {text}")
    if fits:
        return Decision(value="ddp", reason=f"each process can hold the model: {text}")
    if recipe.method == "grpo":
        raise EnvironmentUnusable(
            "grpo needs devices that hold the whole model",
            where="train.method",
            why=f"{_SAMPLES_ALONE}; {text}",
            remedy="use train.adapter qlora, a smaller base model or larger devices; train.engine: ddp tries it here",
        )
    return Decision(value="fsdp2", reason=f"one device cannot hold it: {text}")


def settled(decisions: Decisions, choice: Choice) -> Decisions:
    """The decisions of a training together with its engine."""
    if choice.engine.value in _WEIGHTS_SPLIT:
        fused = Decision(value="off", reason="the weights are split over the processes")
        decisions = decisions.model_copy(update={"fused_layers": fused})
    if choice.engine.value.startswith("zero"):
        precise = Decision(value="fp32", reason="DeepSpeed's own copies are fp32; a checkpoint holds all of their bits")
        decisions = decisions.model_copy(update={"adapter_precision": precise})
    reason = "configured or one for each device" if choice.processes > 1 else "one process"
    processes = Decision(value=str(choice.processes), reason=reason)
    return decisions.model_copy(update={"engine": choice.engine, "processes": processes})


def decided_from(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe that the other decisions start from: joined weights of fused layers could not be split."""
    return recipe.model_copy(update={"fused_layers": "off"}) if choice.engine.value in _WEIGHTS_SPLIT else recipe


def needed_bytes(recipe: Recipe, parameters: int) -> int:
    """Memory of one process that holds the whole model, roughly."""
    return int(parameters * _BYTES_PER_WEIGHT[recipe.adapter] * _ROOM + _OVERHEAD_BYTES)


def micro_batches(recipe: Recipe) -> int:
    """Micro-batches of a full step."""
    return -(-recipe.batch_rows // recipe.micro_batch_rows)


def _refuse_contradictions(recipe: Recipe, engine: str) -> None:
    """What the engines that split weights cannot do."""
    for field, value, engines in (
        ("fused_layers", "on", _WEIGHTS_SPLIT),
        ("compile", "on", ("zero3",)),
        ("adapter", "full", ("zero3",)),
        *(("method", method, ("zero3",)) for method in ("dpo", "ipo", "kto")),
        ("method", "grpo", _WEIGHTS_SPLIT),
        ("adapter", "lora_8bit", _WEIGHTS_SPLIT),
    ):
        if getattr(recipe, field) == value and engine in engines:
            raise UsageError(
                f"train.{field} {value} and the engine {engine} cannot be had together",
                where="train.engine",
                why="the weights are split over the processes" + (f"; {_SAMPLES_ALONE}" if value == "grpo" else ""),
                remedy=f"set train.engine to {'ddp' if 'fsdp2' in engines else 'fsdp2'}, or change train.{field}",
            )


def _has(hardware: Hardware) -> str:
    return f"a device has {hardware.gpu_bytes / 1e9:.1f} GB" if hardware.gpus else "there is no GPU"


def _usual_processes(recipe: Recipe, hardware: Hardware, fits: bool) -> int:
    """One for each GPU, but not more than a step has micro-batches where each has the whole model; one on a CPU."""
    if recipe.engine == "single" or not hardware.gpus:
        return 1
    split = recipe.engine in SPLIT or (recipe.engine == "auto" and not fits)
    return hardware.gpus if split else min(hardware.gpus, micro_batches(recipe))


def _refuse_impossible(recipe: Recipe, hardware: Hardware) -> None:
    processes = recipe.processes or 1
    if recipe.engine in SPLIT and not hardware.gpus:
        raise EnvironmentUnusable(
            f"{recipe.engine} needs a GPU",
            where="train.engine",
            why="there is no CUDA device here, and on a CPU it would silently be plain data parallelism",
            remedy="set train.engine to auto, single or ddp, or train where there are GPUs",
        )
    if recipe.engine == "single" and processes > 1:
        raise UsageError(
            f"one process was asked for, and {processes} processes", where="train.engine",
            why="single is one process", remedy="set train.engine to auto or ddp, or leave train.processes out",
        )  # fmt: skip
    if hardware.gpus and processes > hardware.gpus:
        raise EnvironmentUnusable(
            f"{processes} processes need {processes} GPUs",
            where="train.processes",
            why=f"there are {hardware.gpus} here, and two processes on one GPU only wait for each other",
            remedy=f"set train.processes to {hardware.gpus} or leave it out",
        )
    if processes > micro_batches(recipe):
        raise UsageError(
            f"a step has {micro_batches(recipe)} micro-batches for {processes} processes",
            where="train.micro_batch_rows",
            why="processes without a micro-batch would only wait",
            remedy=f"set train.micro_batch_rows to {max(1, recipe.batch_rows // processes)} or less",
        )

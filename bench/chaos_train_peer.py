"""The peer: a script as TRL's documentation shows it, with resume_from_checkpoint, killed in the same way."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from bench.chaos_train_attempts import Ending, Kill, forked, wait_for

CASES: dict[str, dict[str, Any]] = {
    "qlora": {"quantized": True, "dropout": 0.0, "accumulation": 1},
    "qlora-dropout-2x": {"quantized": True, "dropout": 0.1, "accumulation": 2},
    "lora-dropout": {"quantized": False, "dropout": 0.1, "accumulation": 1},
    "lora-2x": {"quantized": False, "dropout": 0.0, "accumulation": 2},
}
STEPS = 24


def script(folder: Path, model: Path, options: dict[str, Any]) -> int:
    """What a user of TRL writes: the trainer goes on from the last checkpoint if there is one."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    output = folder / "output"
    arguments = SFTConfig(
        output_dir=str(output),
        max_steps=STEPS,
        per_device_train_batch_size=4 // options["accumulation"],
        gradient_accumulation_steps=options["accumulation"],
        learning_rate=5e-3,
        max_length=128,
        save_steps=2,
        save_total_limit=2,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=17,
        model_init_kwargs=_quantization() if options["quantized"] else {"dtype": "bfloat16"},
    )
    trainer = SFTTrainer(
        model=str(model),
        args=arguments,
        train_dataset=load_dataset("json", data_files=str(folder / "rows.jsonl"), cache_dir=str(folder / "cache"))[
            "train"
        ],
        peft_config=LoraConfig(r=4, lora_alpha=8, lora_dropout=options["dropout"], target_modules="all-linear"),
    )
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    if last:
        os.write(1, f'@tuneloop {{"event": "resumed", "step": {last.rsplit("-", 1)[1]}}}\n'.encode())
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(folder / "final"))
    curve = [
        [entry["step"], entry["loss"], entry["grad_norm"]] for entry in trainer.state.log_history if "loss" in entry
    ]
    (folder / "curve.json").write_text(json.dumps(curve), encoding="utf-8")
    return 0


def _quantization() -> dict[str, Any]:
    import torch
    from transformers import BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"dtype": "bfloat16", "quantization_config": quantized}


def write_data(folder: Path, model: Path) -> Path:
    """The folder of one training with its rows; returns the file that stands for the job."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(24):
        prompt, answer = f"Where is bike {i}? " * (i % 4 + 1), "We will ring. " * (i % 3 + 1)
        turns = [{"role": "user", "content": prompt}], [{"role": "assistant", "content": answer}]
        rows.append(json.dumps({"prompt": turns[0], "completion": turns[1]}))
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "model").write_text(str(model), encoding="utf-8")
    return folder / "model"


def attempt(job: Path, kill: Kill | None, options: dict[str, Any], usual_seconds: float) -> Ending:
    """One start of the script; killed as planned or run to its end."""
    from bench.chaos_train_attempts import read_events

    folder = job.parent
    log = folder / "attempt.log"
    log.unlink(missing_ok=True)
    model = Path(job.read_text(encoding="utf-8"))
    child = forked(lambda: script(folder, model, options), log, kill, str(folder / "output"), "/checkpoint-", {})
    code = wait_for([child], kill, lambda: bool(complete(job)), usual_seconds)
    return Ending(code, read_events(log))


def complete(job: Path) -> list[int]:
    """Steps whose checkpoints have their last file; it says nothing about the others."""
    found = (job.parent / "output").glob("checkpoint-*/trainer_state.json")
    return sorted(int(path.parent.name.rsplit("-", 1)[1]) for path in found)


def result(job: Path) -> dict[str, Any]:
    """Digest of the adapter's file, and the curve."""
    final = job.parent / "final" / "adapter_model.safetensors"
    if not final.is_file():
        return {"adapter": "none", "curve": []}
    curve = json.loads((job.parent / "curve.json").read_text(encoding="utf-8"))
    return {"adapter": hashlib.sha256(final.read_bytes()).hexdigest(), "curve": curve}


def trial(make_job: Any, kills: list[Kill], expected: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """One training for two kills, so that one bad resumption does not count against many."""
    counted: list[dict[str, Any]] = []
    for number, pair in enumerate(kills[at : at + 2] for at in range(0, len(kills), 2)):
        job = make_job(number)
        own: list[dict[str, Any]] = []
        for kill in [*pair, None]:
            before = complete(job)
            ending = attempt(job, _later(kill, before), options, expected["seconds"])
            if ending.code == 0:
                break
            if ending.code != -9:  # the script cannot go on from what it finds; somebody would have to look
                own = own or [{"kind": "failed"}]
                break
            if complete(job):
                own.append({"kind": kill.kind if kill else "", "checkpoint": complete(job)[-1]})
        found = result(job)
        same = found["adapter"] == expected["adapter"] and found["curve"] == expected["curve"]
        counted += [kill | {"identical": same} for kill in own]
    return {"kills": counted}


def _later(kill: Kill | None, checkpoints: list[int]) -> Kill | None:
    if kill is None or checkpoints or kill.kind == "random":
        return kill
    return Kill("boundary", number=kill.number, saves=kill.saves + 1)

"""The losses are those of TRL's own trainers on the same batch, and their properties are those of the papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.inference.weights import load_base
from tasks.tokens import Encoded, load_tokenizer
from tasks.train import preference_losses
from tasks.train.kto import Kto
from tasks.train.preference import Preferences
from tasks.train.recipe import Recipe
from tests.tasks.train.preference_rows import make_pairs

ROWS = 5


@pytest.fixture
def model(tiny_model: Path) -> Any:
    """In fp32, with an adapter that is trained on: TRL keeps a copy of it as the reference, we its numbers."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(load_base(tiny_model, "none").float(), config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return adapted


def prepared(objective: Any, model: Any, tiny_model: Path, folder: Path) -> list[Any]:
    """The examples, after the model has moved away from where the reference was taken."""
    examples: list[Any] = objective.examples(load_tokenizer(tiny_model), make_pairs(ROWS))
    objective.prepare(model, examples, folder)
    for name, parameter in model.named_parameters():
        if "lora_B.default" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return examples


def trl_arguments(folder: Path, **settings: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2 * ROWS,
        "report_to": "none",
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "beta": 0.2,
        **settings,
    }


def split(example: Encoded) -> tuple[list[int], list[int]]:
    begins = example.learned.index(True)
    return example.input_ids[:begins], example.input_ids[begins:]


@pytest.mark.parametrize(("method", "loss_type"), [("dpo", "sigmoid"), ("ipo", "ipo")])
def test_pairs_as_trl(model: Any, tiny_model: Path, tmp_path: Path, method: str, loss_type: str) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    objective = Preferences(Recipe(method=method, beta=0.2), 2048, 2)  # type: ignore[arg-type]
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(**trl_arguments(tmp_path, loss_type=[loss_type])),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(tiny_model),
    )
    examples = prepared(objective, model, tiny_model, tmp_path)
    ours = objective.loss(model, objective.batch(examples)) / ROWS
    sides = [(split(pair.chosen), split(pair.rejected)) for pair in examples]
    batch = DataCollatorForPreference(pad_token_id=2)(
        [{"prompt_ids": c[0], "chosen_ids": c[1], "rejected_ids": r[1]} for c, r in sides]
    )
    theirs = trainer._compute_loss(model.train(), batch, return_outputs=False)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-4)
    assert abs(float(theirs.detach()) - (math.log(2) if method == "dpo" else 6.25)) > 1e-3
    compare_gradients(model, ours, theirs)


def compare_gradients(model: Any, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    learned = [p for p in model.parameters() if p.requires_grad]
    for a, b in zip(torch.autograd.grad(ours, learned), torch.autograd.grad(theirs, learned), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-5)


def test_answers_as_trl(model: Any, tiny_model: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    objective = Kto(Recipe(method="kto", beta=0.2), 2048, 2)
    rows = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}]
    trainer = KTOTrainer(
        model=model,
        args=KTOConfig(**trl_arguments(tmp_path)),
        train_dataset=Dataset.from_list(rows * ROWS),
        processing_class=load_tokenizer(tiny_model),
    )
    examples = prepared(objective, model, tiny_model, tmp_path)
    ours = objective.loss(model, objective.batch(examples)) / len(examples)
    batch = {"label": torch.tensor([e.desirable for e in examples])}
    for prefix, sequences in (("", [e.answer for e in examples]), ("KL_", [e.mismatched for e in examples])):
        batch |= {f"{prefix}{key}": value for key, value in padded(sequences).items()}
    theirs = trainer._compute_loss(model.train(), batch, return_outputs=False)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-4)
    assert abs(float(theirs.detach()) - 0.5) > 1e-3
    compare_gradients(model, ours, theirs)


def padded(sequences: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """A batch as TRL's collator makes it."""
    width = max(len(s.input_ids) for s in sequences)
    lists = {
        "input_ids": [s.input_ids + [2] * (width - len(s.input_ids)) for s in sequences],
        "attention_mask": [[1] * len(s.input_ids) + [0] * (width - len(s.input_ids)) for s in sequences],
        "completion_mask": [[int(x) for x in s.learned] + [0] * (width - len(s.input_ids)) for s in sequences],
    }
    return {name: torch.tensor(value) for name, value in lists.items()}


def test_at_the_start_every_loss_is_the_papers() -> None:
    zero, tokens = torch.zeros(3), torch.tensor([2.0, 5.0, 9.0])
    assert preference_losses.dpo(zero, zero, 0.1).tolist() == pytest.approx([math.log(2)] * 3)
    assert preference_losses.ipo(zero, zero, tokens, tokens, 0.1).tolist() == pytest.approx([25.0] * 3)
    assert preference_losses.kto(zero, torch.tensor([True, False, True]), torch.tensor(0.0), 0.1).tolist() == [0.5] * 3


def test_a_better_model_has_a_smaller_loss() -> None:
    up, down, tokens = torch.tensor([2.0]), torch.tensor([-2.0]), torch.tensor([4.0])
    wanted, still = torch.tensor([True]), torch.tensor(0.0)
    assert preference_losses.dpo(up, down, 0.1) < preference_losses.dpo(down, up, 0.1)
    assert preference_losses.ipo(up, down, tokens, tokens, 0.1) < preference_losses.ipo(down, up, tokens, tokens, 0.1)
    assert preference_losses.kto(up, wanted, still, 0.1) < preference_losses.kto(down, wanted, still, 0.1)
    assert preference_losses.kto(down, ~wanted, still, 0.1) < preference_losses.kto(up, ~wanted, still, 0.1)

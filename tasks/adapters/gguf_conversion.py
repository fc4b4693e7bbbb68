"""Converts a GGUF file to safetensors with tokenizer and a plain chat template, and checks what came out.

Run as `python -m tasks.adapters.gguf_conversion GGUF FOLDER NAME` by `built_in_models`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tasks.adapters.devices import cpu_multiplies_bf16
from tasks.adapters.processes import die_with_parent, emit
from tasks.chat_template import neutral_template
from tasks.contracts import Message, Record
from tasks.tokens import decode_answer, encode_prompt, load_tokenizer, stop_token_id


class Known(Record):
    """What a correctly converted model must do."""

    encodings: dict[str, tuple[int, ...]]
    stop_token_id: int
    question: str
    answer_contains: str


# Encodings of the tokenizer this model was published with: digits one by one, runs of white space, special tokens.
KNOWN: dict[str, Known] = {
    "smollm2-135m": Known(
        encodings={
            "12345": (33, 34, 35, 36, 37),
            " 2024-11-05": (216, 34, 32, 34, 36, 29, 33, 33, 29, 32, 37),
            "a   b\n\n  c\t\td": (81, 256, 278, 8866, 265, 197, 197, 84),
            "<|im_start|>user\nHi<|im_end|>\n": (1, 4093, 198, 26843, 2, 198),
            '{"intent":"delivery"}': (39428, 591, 293, 25535, 31625, 23597),
            "Grüße 🚲": (27302, 7170, 34878, 85, 15107, 244, 127),
        },
        stop_token_id=2,
        question="What is the capital of France?",
        answer_contains="Paris",
    )
}
_TOKENIZER_KEYS = ("tokenizer_class", "bos_token", "eos_token", "unk_token", "pad_token")


def main() -> int:
    gguf, folder, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    die_with_parent()
    convert(gguf, folder)
    failures = check(folder, KNOWN[name])
    if failures:
        emit({"failed": "; ".join(failures)})
    return int(bool(failures))


def convert(gguf: Path, folder: Path) -> None:
    """Write weights (bf16), configuration, tokenizer and template of a GGUF file to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.chat_template = neutral_template(tokenizer)
    tokenizer.save_pretrained(str(folder))
    _keep_essential_settings(folder / "tokenizer_config.json")
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    ).to(torch.bfloat16)
    _drop_quantisation_marks(model)
    model.save_pretrained(str(folder))


def _keep_essential_settings(path: Path) -> None:
    """Drop what depends on where and when the tokenizer was saved: its digest must be the same everywhere."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: settings[key] for key in _TOKENIZER_KEYS if key in settings}
    path.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")


def _drop_quantisation_marks(model: Any) -> None:
    """The weights are dense now; what says otherwise would make the saved model unloadable."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    for mark in ("is_quantized", "quantization_method"):
        if hasattr(model, mark):
            delattr(model, mark)
    model.config._name_or_path = ""


def check(folder: Path, known: Known) -> list[str]:
    """What is wrong with a converted model: its encodings, its stop token, its answer to a known question."""
    tokenizer = load_tokenizer(folder)
    failures = [
        f"{text!r} is encoded as {found}, expected {list(ids)}"
        for text, ids in known.encodings.items()
        if (found := tokenizer(text, add_special_tokens=False)["input_ids"]) != list(ids)
    ]
    if stop_token_id(tokenizer) != known.stop_token_id:
        failures.append(f"answers end with token {stop_token_id(tokenizer)}, expected {known.stop_token_id}")
    answer = _greedy_answer(folder, tokenizer, known.question)
    if known.answer_contains not in answer:
        failures.append(f"{known.question!r} was answered {answer!r}, without {known.answer_contains!r}")
    return failures


def _greedy_answer(folder: Path, tokenizer: Any, question: str, max_new_tokens: int = 24) -> str:
    import torch
    from transformers import AutoModelForCausalLM

    kind = torch.bfloat16 if cpu_multiplies_bf16() else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=kind)
    prompt = torch.tensor([encode_prompt(tokenizer, [Message(role="user", content=question)])])
    made = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=stop_token_id(tokenizer),
    )
    return decode_answer(tokenizer, made[0, prompt.shape[1] :].tolist())


if __name__ == "__main__":
    sys.exit(main())

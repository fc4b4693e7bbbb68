"""Answers with the model of this folder. Needs only what requirements.txt names.

    python answer.py "Where is my bike?"
    python answer.py --prompts prompts.jsonl --json

A folder with `model/` is complete. A folder with `adapter/` needs the base model it was trained on: it is fetched from
the hub if it came from there, else `--base FOLDER` names it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Turns = list[dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", help="one question")
    parser.add_argument("--system", help="system message before the question")
    parser.add_argument("--prompts", type=Path, help='file with one {"messages": [...]} a line')
    parser.add_argument("--base", help="folder of the base model, for a package without model/")
    parser.add_argument("--adapter", action="store_true", help="use adapter/ even where model/ is there")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--json", action="store_true", help="one JSON object for each answer")
    options = parser.parse_args()
    prompts = read_prompts(options)
    settings = json.loads((HERE / "package.json").read_text(encoding="utf-8"))
    model, tokenizer = load(settings, options)
    for messages in prompts:
        answer = ask(model, tokenizer, messages, settings["stop_token_id"], options.max_new_tokens)
        print(json.dumps({"messages": messages, "answer": answer}, ensure_ascii=False) if options.json else answer)


def read_prompts(options: Any) -> list[Turns]:
    """The conversations to answer, from the command line or a file."""
    if options.prompts:
        lines = options.prompts.read_text(encoding="utf-8").split("\n")  # JSON may hold other separators of lines
        return [json.loads(line)["messages"] for line in lines if line.strip()]
    if not options.question:
        sys.exit("give a question, or --prompts FILE")
    system = [{"role": "system", "content": options.system}] if options.system else []
    return [[*system, {"role": "user", "content": options.question}]]


def load(settings: dict[str, Any], options: Any) -> tuple[Any, Any]:
    """The model with the numbers it was trained with, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(HERE / "tokenizer"))
    kind, whole = computed_in(), HERE / "model"
    if whole.is_dir() and not options.adapter:
        model = AutoModelForCausalLM.from_pretrained(str(whole), dtype=kind)
    else:
        from peft import PeftModel

        place, revision = base_of(settings, options.base)
        base = AutoModelForCausalLM.from_pretrained(
            place, revision=revision, dtype=kind, **quantised(settings["quantization"], kind)
        )
        model = PeftModel.from_pretrained(base, str(HERE / "adapter"), autocast_adapter_dtype=False)
    if settings["quantization"] == "none" or (whole.is_dir() and not options.adapter):
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model.eval(), tokenizer


def base_of(settings: dict[str, Any], given: str | None) -> tuple[str, str]:
    """Folder or hub name of the base model, and its revision."""
    name = settings["base"]
    if given:
        return given, "main"
    if name.startswith("hf:"):
        place, _, revision = name.removeprefix("hf:").partition("@")
        return place, revision
    return sys.exit(f"this package needs the base model {name}: give its folder with --base")


def computed_in() -> Any:
    """bf16 where the device has instructions for it; elsewhere fp32 is some hundred times faster."""
    import torch

    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    flags = Path("/proc/cpuinfo")
    words = set(flags.read_text(encoding="utf-8", errors="replace").split()) if flags.is_file() else set()
    return torch.bfloat16 if words & {"avx512_bf16", "amx_bf16"} else torch.float32


def quantised(kind: str, dense: Any) -> dict[str, Any]:
    """How the base is loaded, so that the adapter sees the weights it was trained beside."""
    import torch

    if kind == "none":
        return {}
    from transformers import BitsAndBytesConfig

    eight = BitsAndBytesConfig(load_in_8bit=True)
    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dense,
    )
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    return {"quantization_config": four if kind == "nf4" else eight, "device_map": {"": device}}


def ask(model: Any, tokenizer: Any, messages: Turns, stop: int, max_new_tokens: int) -> str:
    """The likeliest answer, token by token, up to the token that ends it."""
    import torch

    special = [token.content for token in tokenizer.added_tokens_decoder.values()]
    if any(token in turn["content"] for turn in messages for token in special):
        sys.exit("a message holds a special token of the model's template; it would be read as the template's own")
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(model.device)
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=stop,
            pad_token_id=stop,
        )
    answer = [token for token in made[0, ids.shape[1] :].tolist() if token != stop]
    return str(tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False))


if __name__ == "__main__":
    main()

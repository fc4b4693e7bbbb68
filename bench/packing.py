"""What packing is and what it saves: the mask of a small pack, and how rows of one micro-batch are laid out.

    python -m bench.packing [--rows 1000]

Prints the mask of a pack of three rows; the largest difference of a row's loss, packed against alone, over many rows of
the support desk in fp32; how many places are computed with padding and without; and a last line of JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.train_data import encoded, long_tail, support_desk

SHOWN, BATCH, LONGEST = (3, 2, 4), 16, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    from tasks.train.packing import block_mask, mask_as_text

    print(
        f"Rows of {', '.join(map(str, SHOWN))} tokens in one sequence; a line is a token, ■ is what it may look at:\n"
    )
    print(mask_as_text(block_mask(SHOWN)), end="\n\n")
    line = {"bench": "packing", "rows": options.rows, **measure(options.model, options.rows)}
    print(json.dumps(line))


def measure(name: str, count: int) -> dict[str, Any]:
    """Losses packed and alone, with the fused attention by rows and with the mask of blocks."""
    from tasks.adapters.base_models import resolve
    from tasks.inference.weights import load_base
    from tasks.tokens import load_tokenizer
    from tasks.train.llama_layers import fuse

    folder = Path(resolve(name).path)
    examples = encoded(load_tokenizer(folder), long_tail(support_desk(), 2 * count), LONGEST)[:count]
    fused, masked = load_base(folder, "none").float(), load_base(folder, "none").float()
    fuse(fused)
    largest = {"by_rows": 0.0, "by_mask": 0.0}
    for start in range(0, count, BATCH):
        rows = sorted(examples[start : start + BATCH], key=lambda row: len(row.input_ids))
        alone = [loss for row in rows for loss in losses(masked, [row])]
        for how, model in (("by_rows", fused), ("by_mask", masked)):
            apart = max(abs(a - b) for a, b in zip(losses(model, rows), alone, strict=True))
            largest[how] = max(largest[how], apart)
    return {"largest_difference": largest, **places(examples)}


def losses(model: Any, rows: list[Any]) -> list[float]:
    """Mean loss of the learned tokens of each row of a pack."""
    import torch
    from torch.nn import functional

    from tasks.train.batches import packed
    from tasks.train.data import IGNORED
    from tasks.train.forward import hidden_states

    batch = packed(rows)
    targets = functional.pad(batch["labels"][0, 1:], (0, 1), value=IGNORED)
    with torch.no_grad():
        hidden = hidden_states(model, batch)[0]
        parts = zip(*(torch.split(x, batch["lengths"].tolist()) for x in (hidden, targets)), strict=True)
        head = model.get_output_embeddings()
        return [float(functional.cross_entropy(head(part), goal, ignore_index=IGNORED)) for part, goal in parts]


def places(examples: list[Any]) -> dict[str, int]:
    """Places that are computed for these rows: in the order they come, sorted by length before batching, and packed."""
    lengths = [len(example.input_ids) for example in examples]
    ordered = sorted(lengths)
    padded, by_length = (
        sum(max(part) * len(part) for part in (rows[at : at + BATCH] for at in range(0, len(rows), BATCH)))
        for rows in (lengths, ordered)
    )
    return {"places_padded": padded, "places_padded_by_length": by_length, "places_packed": sum(lengths)}


if __name__ == "__main__":
    main()

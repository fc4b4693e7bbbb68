"""What the rounds of `bench.train` say: ratios, the table, the file of results, the last line."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from bench.train_turns import overall, paired, spread

WIDTHS = (9, 9, 9, 13, 14)


def compared(found: dict[str, Any], ours: str = "tuneloop") -> dict[str, Any]:
    """The table, and our speed over each other one's: over all rounds, and how it varied."""
    ratios = {
        name: {"overall": round(overall(found, ours, name), 2), **spread(paired(found, ours, name))}
        for name in found
        if name != ours
    }
    return table(found) | {"ratios": ratios}


def table(found: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of each variant: all rounds together, slowest and fastest."""
    return {
        "table": {
            name: {
                "tokens_per_second": round(sum(one["tokens"]) / sum(one["seconds"])),
                "slowest": round(min(one["rates"])),
                "fastest": round(max(one["rates"])),
                "tokens_a_step": round(statistics.mean(one["tokens"])),
                "first_step_seconds": round(one["warm_seconds"][0], 1),
            }
            for name, one in found.items()
        }
    }


def results(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def add(file: Path, name: str, result: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results(file) | {name: result}, indent=1), encoding="utf-8")


def show(name: str, result: dict[str, Any]) -> None:
    print(f"\n== {name} ({result['at']})")
    print(f"{'variant':<18}{'tokens/s':>9}{'slowest':>9}{'fastest':>9}{'tokens/step':>13}{'first step s':>14}")
    for variant, one in result["table"].items():
        print(
            f"{variant:<18}" + "".join(f"{value:>{width}}" for value, width in zip(one.values(), WIDTHS, strict=True))
        )
    for key, value in result.items():
        if key not in ("table", "at"):
            print(f"{key}: {json.dumps(value)}")


def last_line(found: dict[str, Any]) -> dict[str, Any]:
    """What has been measured so far, under the names that other programs read."""
    line: dict[str, Any] = {"bench": "train"}
    if "desk" in found:
        line |= {"tokens_ratio": found["desk"]["ratios"]["trl"]["overall"], "validation": found["desk"]["validation"]}
    if "long_tail" in found:
        line["tokens_ratio_long_tail"] = found["long_tail"]["ratios"]["trl"]["overall"]
    if "compile" in found:
        line["tokens_ratio_with_compile"] = found["compile"]["ratio_with_compile"]
    if "plain" in found:
        line["plain_step_ratio"] = found["plain"]["plain_step_ratio"]["median"]
    if "full" in found:
        line |= {"lora_over_full": found["full"]["lora_over_full"]["median"]}
        line |= {"lora_over_full_bound": found["full"]["lora_over_full_bound"]}
    if "mfu" in found:
        line["mfu"] = max(one["median"] for one in found["mfu"]["mfu"].values())
    return line

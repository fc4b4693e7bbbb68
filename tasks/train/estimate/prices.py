"""What an hour of a machine costs: an editable table, and what a training comes to on each kind of GPU."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from tasks.contracts import Record
from tasks.errors import UsageError
from tasks.settings import Settings

DEFAULT = Path(__file__).with_name("prices.yaml")
CPU = "cpu"


class Kind(Record):
    """One kind of machine."""

    match: tuple[str, ...] = Field(description="Whole words of the device's name that mean this kind.")
    memory_gb: float = Field(ge=0, description="Memory of one device; 0: whatever the machine has.")
    tflops: float = Field(gt=0, description="Dense bf16 peak of one device, in 10^12 FLOPs a second.")
    utilisation: float = Field(gt=0, le=1, description="Share of the peak that training usually reaches.")
    on_demand: float = Field(ge=0, description="Price of an hour.")
    spot: float = Field(ge=0, description="Price of an hour of a machine that may be taken away.")


class PriceTable(Record):
    """The kinds of machines that are known, with their prices."""

    currency: str
    as_of: str = Field(description="When these prices were true.")
    source: str = Field(description="Where they come from.")
    kinds: dict[str, Kind]

    def kind_of(self, device: str) -> str | None:
        """Name of the kind of a device; None: it is not in the table. The longest match counts (RTX 6000 Ada).

        Whole words only: an L40 is no L4, and no price is better than that of another machine.
        """
        said = _words(device)
        matches = [(_words(m), name) for name, kind in self.kinds.items() for m in kind.match]
        found = [(len(words), name) for words, name in matches if words in said]
        return max(found)[1] if found else None

    def price_of(self, device: str, count: int = 1) -> float | None:
        """On-demand price of an hour with so many devices; None: the kind is not in the table."""
        name = self.kind_of(device)
        return None if name is None else self.kinds[name].on_demand * count


def _words(text: str) -> str:
    """`NVIDIA A100-SXM4` as ` nvidia a100 sxm4 `: what is found in another one are whole words of it."""
    return f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "


def load_prices(file: Path | None = None) -> PriceTable:
    """The price table that the settings name (TUNELOOP_PRICES), or the examples that come with Tuneloop.

    Raises:
        UsageError: the file is missing or is no price table.
    """
    path = file or Settings().prices or DEFAULT
    try:
        return PriceTable.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        why = f"{type(error).__name__}: it cannot be read as YAML"
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise UsageError("the price table cannot be used", where=str(path), why=why,
                     remedy=f"set TUNELOOP_PRICES to a file of the form of {DEFAULT}")  # fmt: skip


def price_for(table: PriceTable, device: str, count: int, max_cost: float | None) -> float | None:
    """Price of an hour here.

    Raises:
        UsageError: a limit of cost was given, and nothing is known of what this machine costs.
    """
    price = table.price_of(device, count)
    if price is None and max_cost is not None:
        raise UsageError(
            "a limit of cost cannot be kept",
            where="train.max_cost",
            why=f"the price table has no kind that matches {device}",
            remedy="add it to your price table (TUNELOOP_PRICES), or leave train.max_cost out",
        )
    return price

"""The price table: what comes with Tuneloop, what a person edits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import UsageError
from tasks.train.estimate.prices import DEFAULT, Kind, PriceTable, load_prices, price_for


def test_the_examples_are_a_table_with_date_and_source(home: Path) -> None:
    table = load_prices()
    assert table.as_of
    assert "edit" in table.source
    assert all(0 <= kind.spot <= kind.on_demand for kind in table.kinds.values())


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("NVIDIA H200", "H200-141GB"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10G"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("cpu AMD EPYC, 2 cores", "cpu"),
        ("NVIDIA GeForce RTX 4090", None),
        ("NVIDIA L40", None),
        ("NVIDIA RTX A1000 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA GB200", None),
    ],
)
def test_devices_are_found_by_their_names(home: Path, device: str, kind: str | None) -> None:
    assert load_prices().kind_of(device) == kind


def test_a_table_of_ones_own(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(DEFAULT.read_text(encoding="utf-8").replace("on_demand: 4.90", "on_demand: 2.50"), encoding="utf-8")
    monkeypatch.setenv("TUNELOOP_PRICES", str(own))
    assert load_prices().price_of("NVIDIA H200", 4) == 10.0
    assert load_prices().price_of("unknown") is None


def test_the_kind_with_the_most_words_counts() -> None:
    def kind(*match: str) -> Kind:
        return Kind(match=match, memory_gb=48, tflops=300, utilisation=0.4, on_demand=1.0, spot=0.5)

    kinds = {"ada": kind("RTX 6000 Ada"), "turing": kind("RTX 6000"), "none": kind("")}
    table = PriceTable(currency="USD", as_of="x", source="y", kinds=kinds)
    assert table.kind_of("NVIDIA RTX 6000 Ada Generation") == "ada"
    assert table.kind_of("Quadro RTX 6000") == "turing"
    assert table.kind_of("NVIDIA T4") is None


@pytest.mark.parametrize("text", ["kinds: [", "currency: USD\nas_of: x\nsource: y\nkinds: {a: {match: [a]}}\n"])
def test_what_is_no_table_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="price table cannot be used"):
        load_prices(file)
    with pytest.raises(UsageError, match="price table cannot be used"):
        load_prices(tmp_path / "none.yaml")


def test_a_limit_of_cost_needs_a_price(home: Path) -> None:
    assert price_for(load_prices(), "unknown", 1, None) is None
    with pytest.raises(UsageError, match="limit of cost"):
        price_for(load_prices(), "unknown", 1, 5.0)

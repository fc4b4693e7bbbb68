"""The loss curve as a drawing and a table."""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from tasks.contracts import BaseModelRef, LossPoint, TrainedModel
from tasks.train.curve import curve_svg, svg_address, thinned, training_markdown
from tasks.train.stage import final_loss


def curve(steps: int) -> tuple[LossPoint, ...]:
    return tuple(LossPoint(step=i + 1, loss=3.0 / (i + 1), learning_rate=1e-3, tokens=100 * i) for i in range(steps))


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_the_drawing_is_valid_and_has_every_point(steps: int) -> None:
    svg = ElementTree.fromstring(curve_svg(curve(steps)))
    line = svg.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == steps


def test_the_address_holds_the_drawing() -> None:
    svg = curve_svg(curve(3))
    assert unquote(svg_address(svg).removeprefix("data:image/svg+xml,")) == svg


def test_few_points_with_both_ends() -> None:
    points = thinned(curve(100), 5)
    assert len(points) == 5
    assert (points[0].step, points[-1].step) == (1, 100)
    assert thinned(curve(3), 5) == list(curve(3))


def test_the_final_loss_is_a_mean() -> None:
    assert final_loss(curve(1)) == 3.0
    assert final_loss(curve(20)) == pytest.approx((3 / 19 + 3 / 20) / 2)


def test_the_page_says_what_was_decided() -> None:
    base = BaseModelRef(name="tiny", path="/x", digest="d", tokenizer_digest="t", parameters=2_000_000)
    trained = TrainedModel(
        uri="store://train/k",
        adapter_digest="a" * 64,
        base=base,
        dataset="ds://p/main@1.0.0",
        dataset_digest="d",
        quantization="nf4",
        steps=3,
        rows_seen=9,
        rows_available=12,
        tokens_per_second=500,
        final_loss=1.5,
        curve=curve(3),
        decisions={"compile": "off: too short a run"},
        seconds=4,
        interruptions=2,
        history=("interrupted 1×, resumed at step 40",),
    )
    page = training_markdown(trained)
    assert "| compile | off: too short a run |" in page
    assert "| rows | 9 of 12 |" in page
    assert "| interruptions | interrupted 2×, resumed<br>interrupted 1×, resumed at step 40 |" in page
    assert "| 3 | 1.000 | 1.00e-03 | 200 |" in page

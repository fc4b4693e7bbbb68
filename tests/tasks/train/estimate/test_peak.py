"""The highest memory of a process is seen, and what was freed can be given back."""

from __future__ import annotations

import pytest
import torch

from tasks.train.estimate.peak import begin_peak, give_back, peak, used_bytes

BIG = 200_000_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts main memory")
def test_the_highest_point_counts_from_its_beginning() -> None:
    begin_peak()
    before = used_bytes()
    block = torch.ones(BIG // 4)
    assert peak() - before > 0.9 * BIG
    del block
    give_back()
    begin_peak()
    assert peak() - before < 0.3 * BIG

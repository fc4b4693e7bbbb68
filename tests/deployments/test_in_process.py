from __future__ import annotations

import contextlib
import os
import signal

import pytest

from deployments.in_process import interruptible
from tasks import progress


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_a_library_swallows_ends_the_run_at_the_next_stage(number: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt), progress.stage("train"):
            pytest.fail("a stage began after the interrupt")
    with progress.stage("train"):
        assert signal.getsignal(signal.SIGINT) is before

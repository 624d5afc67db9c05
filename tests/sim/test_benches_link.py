"""cocotb bench of the link's frame receiver."""

from __future__ import annotations

import pytest
from oarlock.hw.frame_receiver import FrameReceiver
from oarlock.sim.bench import BenchFailure, run_bench


def frame_receiver(**options: object) -> None:
    run_bench(FrameReceiver(), test_module="oarlock.sim.benches.frame_receiver", **options)


def test_frame_receiver() -> None:
    frame_receiver()


@pytest.mark.parametrize(("sabotage", "message"), [
    ("flip", "frames: item .* (is extra|must be)"), ("count", "AssertionError|assert ")])
def test_a_wrong_frame_receiver_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        frame_receiver(only="damaged_frames", env={"OARLOCK_SABOTAGE": sabotage})

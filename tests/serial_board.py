"""A small simulated board on a pseudo-terminal, run by a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from layer_networks import NetworkBuilder, expected_output, program_of, random_input
from oarlock.gen.config import ArrayConfig
from oarlock.sim.emulator import Emulator
from oarlock.sim.faults import KINDS, FaultyLine
from oarlock.sim.pty_line import PtyLine
from oarlock.sim.serial_simulator import build_serial
from oarlock.sw_driver.program import Program


__all__ = ["BAUD", "CLOCK", "CONFIG", "CONFIGS", "Board", "Example", "example", "serial_board"]

#: As small as is useful, with a UART of the fewest cycles a bit.
CONFIG = ArrayConfig(
    rows=2, cols=3, ifmap_depth=32, filter_depth=128, psum_depth=4, word_bytes=4, buffer_bytes=1024,
    lanes=2, parameter_depth=32, program_depth=256)
#: By dataflow. The second also leaves out what the first has around the array.
CONFIGS = {
    "row-stationary": CONFIG,
    "weight-stationary": replace(CONFIG, dataflow="weight-stationary", accumulator_depth=16,
                                 counters=False, run_length=False),
}
CLOCK, BAUD = 12_000_000, 3_000_000


@dataclass(frozen=True)
class Example:
    """A program, inputs, and what the reference makes of them."""

    program: Program
    inputs: np.ndarray
    outputs: np.ndarray


def example(config: ArrayConfig = CONFIG, count: int = 4) -> Example:
    """Return a network of two layers that takes a hundred words to load."""
    builder = NetworkBuilder((5, 6, 3), seed=3)
    network = builder.conv(4, (3, 3)).conv(5, (1, 1)).network()
    inputs = np.concatenate([random_input(network, seed) for seed in range(count)])
    outputs = np.concatenate([expected_output(network, x[None], "single") for x in inputs])
    return Example(program_of(network, config, "single"), inputs, outputs)


class Board:
    """The running board."""

    def __init__(self, emulator: Emulator, line: FaultyLine, config: ArrayConfig) -> None:
        self.emulator = emulator
        self.config = config
        self.line = line
        self.failure: BaseException | None = None
        self.end = False

    @property
    def port(self) -> str:
        """Name of the port."""
        return self.line.line.port

    def run(self) -> None:
        """Run until the end."""
        try:
            self.emulator.run(lambda: self.end)
        except BaseException as error:
            self.failure = error
            raise

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until something is true of the board."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)


@contextmanager
def serial_board(link: Path, *, config: ArrayConfig = CONFIG, seed: int = 1, spacing: float = 0,
                 kinds: Mapping[str, float] = KINDS) -> Iterator[Board]:
    """Run a board whose port is ``link``."""
    library = build_serial(config, clock_hz=CLOCK, baud=BAUD)
    with PtyLine(link) as pty:
        line = FaultyLine(pty, seed=seed, spacing=spacing, kinds=kinds)
        with Emulator(library, line, clock_hz=CLOCK, baud=BAUD) as emulator:
            line.on_reset = emulator.reset
            board = Board(emulator, line, config)
            thread = threading.Thread(target=board.run)
            thread.start()
            try:
                yield board
            finally:
                board.end = True
                thread.join()
    assert board.failure is None

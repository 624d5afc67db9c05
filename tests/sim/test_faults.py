"""A thousand faults between driver and board: each is recovered or reported, none is believed."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from oarlock.sim.faults import KINDS, FaultyLine
from oarlock.sim.pty_line import PtyLine
from oarlock.sw_driver import errors, link
from oarlock.sw_driver.serial_transport import SerialTransport
from oarlock.sw_driver.session import Session
from serial_board import CONFIGS, Board, Example, example, serial_board


TIMEOUT = 5.0

#: No operation may take longer, whatever happens on the line: a multiple of the driver's deadline.
HANG = 60.0

#: What bytes alone can suffer; a driver has to get over it.
BYTES = {kind: weight for kind, weight in KINDS.items() if kind not in ("reset", "unplug")}

#: What a driver may say about everything else.
REPORTS = (errors.LinkLost, errors.DeviceReset, errors.LinkTimeout, errors.NoDevice,
           errors.PortError)


def converse(port: str, example: Example, rng: np.random.Generator, rounds: int) -> SerialTransport:
    """Run a session and compare every output."""
    transport = SerialTransport(port, timeout=TIMEOUT)
    with Session(transport, example.program) as session:
        session.load()
        for _ in range(rounds):
            chosen = rng.integers(0, len(example.inputs), rng.integers(1, 4))
            outputs = session.infer_batch(example.inputs[chosen])
            assert np.array_equal(outputs.reshape(len(chosen), -1),
                                  example.outputs[chosen].reshape(len(chosen), -1))
    return transport


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def storm(board: Board, spacing: float, faults: int, seed: int) -> tuple[Counter[str], int]:
    """Run sessions on a bad line; return how they ended and how often words were resent."""
    wanted, rng = example(board.config), np.random.default_rng(seed)
    converse(board.port, wanted, rng, 1)
    before, ends, resent = open_files(), Counter[str](), 0
    while board.line.total < faults:
        began = time.monotonic()
        board.line.storm(spacing)
        try:
            transport = converse(board.port, wanted, rng, 4)
            ends["good"] += 1
            resent += transport.link.resent if transport.link else 0
        except REPORTS as error:
            ends[type(error).__name__] += 1
            assert "\n" not in str(error)
            # Whatever it was: on a good line the next session works, the board untouched.
            board.line.calm()
            board.wait_for(lambda: board.line.is_settled)
            converse(board.port, wanted, rng, 1)
        assert time.monotonic() - began < HANG
        assert open_files() == before
        assert board.failure is None
    return ends, resent


@pytest.mark.parametrize(("spacing", "faults", "seed"), [(300, 350, 1), (1000, 150, 2)])
def test_all_kinds_of_faults(tmp_path: Path, spacing: float, faults: int, seed: int) -> None:
    with serial_board(tmp_path / "port", seed=seed) as board:
        ends, resent = storm(board, spacing, faults, seed)
        print(dict(ends), dict(board.line.counts), resent)
        assert {*board.line.counts} == {*KINDS}
    assert resent or not ends["good"]
    # A board that starts again and a port that goes away end a session, nothing else need.
    reset, gone = board.line.counts["reset"], board.line.counts["unplug"]
    assert ends["DeviceReset"] + ends["LinkLost"] <= reset + gone
    assert ends["DeviceReset"] and ends["LinkLost"]
    assert ends["LinkTimeout"] + ends["NoDevice"] + ends["PortError"] <= faults // 50


@pytest.mark.parametrize(("dataflow", "faults"), [("row-stationary", 500),
                                                  ("weight-stationary", 150)])
def test_damaged_bytes_are_recovered(tmp_path: Path, dataflow: str, faults: int) -> None:
    with serial_board(tmp_path / "port", config=CONFIGS[dataflow], seed=3, kinds=BYTES) as board:
        ends, resent = storm(board, 300, faults, 3)
        print(dict(ends), dict(board.line.counts), resent)
        assert {*board.line.counts} == {*BYTES}
    assert set(ends) <= {"good", "LinkTimeout", "NoDevice"}
    assert ends["good"] > 4 * (ends.total() - ends["good"])
    assert resent > faults // 10


def test_without_its_checks_the_driver_would_be_wrong(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the same faults, and a host that believes damaged frames."""
    honest = link.link_isa.parse

    def gullible(body: bytes) -> object:
        frame = honest(body)
        if frame is not None or len(body) < 16:
            return frame
        body = body.replace(b"}^", b"~").replace(b"}]", b"}")
        content = body[:len(body) // 4 * 4 - 4]
        content = content[:2] + bytes([(len(content) - 12) // 4]) + content[3:]
        crc = link.link_isa.zlib.crc32(content).to_bytes(4, "little")
        return honest((content + crc).replace(b"}", b"}]").replace(b"~", b"}^"))

    monkeypatch.setattr("oarlock.hw.link_isa.parse", gullible)
    wrong = 0
    with serial_board(tmp_path / "port", seed=4, kinds={"flip": 1}) as board:
        wanted = example()
        for _ in range(60):
            board.line.calm()
            try:
                with Session(SerialTransport(board.port, timeout=TIMEOUT),
                             wanted.program) as session:
                    session.load()
                    board.line.storm(150)
                    for x, expected in zip(wanted.inputs, wanted.outputs, strict=True):
                        wrong += not np.array_equal(session.infer(x).ravel(), expected.ravel())
            except errors.DriverError:
                pass
            if wrong:
                break
    assert wrong


def test_faults_are_of_their_seed() -> None:
    class Quiet(PtyLine):
        def __init__(self) -> None:
            pass

        def read(self, count: int) -> bytes:
            return bytes(count)

    def damaged(seed: int, spacing: float) -> bytes:
        line = FaultyLine(Quiet(), seed=seed, spacing=spacing,
                          kinds={"flip": 1, "drop": 1, "double": 1, "insert": 1, "noise": 1})
        return b"".join(line.read(1) for _ in range(3000))

    assert damaged(1, 100) == damaged(1, 100) != damaged(2, 100)
    assert damaged(1, 0) == bytes(3000)
    with pytest.raises(ValueError, match=r"^Faults must be of flip, .*, not 'fire'$"):
        FaultyLine(Quiet(), seed=1, spacing=1, kinds={"fire": 1})
    with pytest.raises(ValueError, match=r"^Spacing must be positive or 0, not -1$"):
        FaultyLine(Quiet(), seed=1, spacing=-1)

"""Activations that cross the link run-length coded: the Verilated device and the driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from layer_networks import NetworkBuilder, program_of, random_input
from oarlock.gen.config import load_config
from oarlock.gen.counts import predicted
from oarlock.gen.interpret import evaluate
from oarlock.gen.link_words import link_boxes, link_words
from oarlock.gen.network import Network
from oarlock.gen.tflite_import import load
from oarlock.gen.value_counts import value_counts
from oarlock.gen.verilog import verilog_of
from oarlock.hw import isa
from oarlock.sim.simulator import Simulator, build
from oarlock.sim.transport import SimTransport
from oarlock.sw_driver import boxes, run_length
from oarlock.sw_driver.errors import DeviceError
from oarlock.sw_driver.program import Program
from oarlock.sw_driver.session import Session


CONFIG = load_config("tiny")
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(build(verilog_of(CONFIG))) as simulator:
        yield simulator


class Found(NamedTuple):
    output: np.ndarray
    counters: Mapping[str, int]
    layer_cycles: list[int]
    sent: int
    received: int


def infer(simulator: Simulator, program: Program, x: np.ndarray) -> Found:
    with Session(SimTransport(simulator), program) as run:
        assert run.info["run_length"] == 1
        run.load()
        output = run.infer(x)
        return Found(output, run.counters(), run.layer_cycles, run.words_sent, run.words_received)


def uncoded(program: Program) -> Program:
    """Return a program whose boxes are sent as they are."""
    return replace(program, inference=[
        {key: value for key, value in step.items() if key != "zero_point"}
        for step in program.inference])


def sparse(network: Network, zeros: float) -> np.ndarray:
    """Return an input of which a share equals the zero point."""
    x = random_input(network, 3)
    rng = np.random.default_rng(4)
    return np.where(rng.random(x.shape) < zeros,
                    np.int8(network.tensors[network.input].zero_point), x)


def resident() -> Network:
    return NetworkBuilder((12, 12, 8), 5).conv(8, (3, 3), activation=(-20, 127)).network()


def streamed() -> Network:
    """Return a network whose feature maps do not fit, so that their tiles go there and back."""
    return (NetworkBuilder((80, 80, 8), 6).conv(8, (3, 3), stride=(2, 2))
            .conv(32, (1, 1)).conv(8, (1, 1)).network())


def odd() -> Network:
    """Return a network whose output does not fill its last word."""
    return (NetworkBuilder((11, 9, 3), 7)
            .conv(7, (3, 3), padding=((1, 1), (1, 1)), activation=(90, 127)).network())


NETWORKS = {"resident": resident, "streamed": streamed, "odd": odd, "digits": lambda: load(DIGITS)}


@pytest.mark.parametrize("name", NETWORKS)
def test_coded_or_not_is_the_same_inference(simulator: Simulator, name: str) -> None:
    network = NETWORKS[name]()
    program = program_of(network, CONFIG)
    moves = [step for step in program.inference if step["do"] in ("write_box", "read_box")]
    assert all("zero_point" in step for step in moves)
    assert (len(moves) > 4) == (name == "streamed")
    for zeros in (0, 0.8):
        x = sparse(network, zeros)
        values = evaluate(network, x, "single")
        expected = values[program.output.name]
        coded, raw = (infer(simulator, one, x) for one in (program, uncoded(program)))
        for found in (coded, raw):
            np.testing.assert_array_equal(found.output.ravel(), expected.ravel())
        # All that does not happen on the link is what was predicted, coded or not.
        counters, _ = predicted(program, CONFIG, value_counts(network, CONFIG, values))
        links = {"cycles", "link_words_in", "link_words_out"}
        for found, has_codec in ((coded, True), (raw, False)):
            crossing = link_boxes(program, network, values, run_length=has_codec)
            words = link_words(program, crossing)
            assert {key: found.counters[key] for key in words} == words
            # A write never gets longer; a read by one word at most.
            assert all(box.words <= box.raw_words + (has_codec and not box.to_device)
                       for box in crossing)
        for found in (coded, raw):
            assert {key: found.counters[key] for key in counters} == counters
        assert {key: value for key, value in coded.counters.items() if key not in links} == {
            key: value for key, value in raw.counters.items() if key not in links}
        if zeros:
            size = -(-x.size // 4)
            assert coded.sent < raw.sent - size // 4


def test_what_the_device_sends_is_shorter_too(simulator: Simulator) -> None:
    """The output of an activation that cuts off most values."""
    network = (NetworkBuilder((12, 12, 8), 5)
               .conv(8, (3, 3), padding=((1, 1), (1, 1)), activation=(90, 127)).network())
    target = network.tensors[network.output]
    network = replace(network, tensors=network.tensors | {
        network.output: replace(target, zero_point=90)})
    program, x = program_of(network, CONFIG), random_input(network, 1)
    coded, raw = (infer(simulator, one, x) for one in (program, uncoded(program)))
    np.testing.assert_array_equal(coded.output, raw.output)
    zeros = float(np.mean(coded.output == 90))
    assert zeros > 0.4
    assert coded.counters["link_words_out"] < raw.counters["link_words_out"]
    words = raw.output.ravel().view("<u4")
    assert raw.received - coded.received == len(words) - len(run_length.encode(words, 90))


def test_another_code_would_be_noticed(simulator: Simulator,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    network = resident()
    program, x = program_of(network, CONFIG), sparse(network, 0.8)
    good = infer(simulator, program, x).output
    with monkeypatch.context() as patch:
        patch.setattr(boxes, "coded_operand", lambda zero: isa.CODED_OPERAND | (zero ^ 1) & 0xFF)
        assert not np.array_equal(infer(simulator, program, x).output, good)
    np.testing.assert_array_equal(infer(simulator, program, x).output, good)


@pytest.mark.parametrize("fault", ["ends early", "ends late", "run too long", "header", "noise"])
def test_a_malformed_block_is_an_error_and_no_hang(
        simulator: Simulator, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    network = resident()
    program, x = program_of(network, CONFIG), sparse(network, 0.8)
    good = infer(simulator, program, x)

    def wrong(words: np.ndarray, zero: int) -> np.ndarray:
        block = run_length.encode(words, zero)
        match fault:
            case "ends early":
                return block[:-1]
            case "ends late":
                return np.append(block, np.uint32(0))
            case "run too long":
                return np.array([block[0], 0xFF00], np.uint32)
            case "header":
                return block | np.uint32(1 << 30)
            case _:
                noise = np.random.default_rng(1).integers(0, 1 << 32, len(block), np.uint64)
                return np.append(block[:1], noise[1:].astype(np.uint32))

    with monkeypatch.context() as patch:
        patch.setattr(boxes, "encode", wrong)
        with pytest.raises(DeviceError, match="Device refused WRITE: BAD_CODE") as caught:
            infer(simulator, program, x)
    assert caught.value.status is isa.Status.BAD_CODE
    again = infer(simulator, program, x)
    np.testing.assert_array_equal(again.output, good.output)
    assert again.layer_cycles == good.layer_cycles

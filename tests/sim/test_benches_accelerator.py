"""The cocotb bench of the whole accelerator, on programs of the compiler."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from layer_networks import (
    NetworkBuilder,
    expected_output,
    program_of,
    random_input,
)
from oarlock.gen.config import DATAFLOWS, ArrayConfig
from oarlock.gen.counts import predicted
from oarlock.gen.network import Network
from oarlock.hw import isa
from oarlock.hw.accelerator import Accelerator
from oarlock.hw.isa import Memory, Opcode, Status
from oarlock.sim.bench import BenchFailure, run_bench
from oarlock.sim.reference import Rounding


SMALL = ArrayConfig(
    rows=2, cols=3, ifmap_depth=32, filter_depth=128, psum_depth=4, word_bytes=4, buffer_bytes=1024,
    lanes=2, parameter_depth=32, program_depth=256)

ALL, NONE = 0xFFFFFFFF, 0
ROUNDINGS: tuple[Rounding, ...] = ("single", "double")


@dataclass
class Script:
    """Words for the device, and what it must answer; see ``sim/benches/accelerator.py``."""

    config: ArrayConfig
    words: list[int] = field(default_factory=list)
    answers: list[tuple[int, int]] = field(default_factory=list)
    intervals: list[tuple[int | None, int, int]] = field(default_factory=list)
    output: int = 0

    def command(self, opcode: Opcode, payload: list[tuple[int, int]] | None = None,
                data: list[int] | None = None, status: Status = Status.OK, **fields: int) -> int:
        """Append a command; return the number of its answer's first payload word."""
        payload = payload or []
        self.words += isa.command(opcode, **fields) + (data or [])
        self.answers.append((isa.RESPONSE_SYNC << 24 | opcode << 20 | status << 16 | len(payload),
                             ALL))
        self.answers += payload
        return len(self.answers) - len(payload)

    def infer(self, network: Network, seed: int, rounding: Rounding = "single") -> None:
        """Load a network's program, run it, read counters and times."""
        program = program_of(network, self.config, rounding)
        tensors = {network.input: random_input(network, seed)}
        tensors[network.output] = expected_output(network, tensors[network.input], rounding)
        boxes = {name: np.zeros(shape, np.int8) for name, shape in program.host_tensors.items()}
        for name in boxes:
            boxes[name] = tensors[name].reshape(boxes[name].shape)
        for step in (*program.setup, *program.inference):
            if "box" in step:
                box = boxes[step["tensor"]][tuple(slice(*pair) for pair in step["box"])].tobytes()
                rest = -len(box) % 4
                words = np.frombuffer(box + bytes(rest), "<u4").tolist()
            match step["do"]:
                case "send":
                    self._send(program.words[step["start"]:step["start"] + step["words"]].tolist())
                case "clear":
                    self.command(Opcode.CLEAR)
                case "wait":
                    self.command(Opcode.WAIT, [(0, NONE)] * 2)
                case "write_box":
                    self.command(Opcode.WRITE, memory=Memory.GLOBAL_BUFFER,
                                 address=step["address"], count=len(words), data=words)
                case "read_box":
                    masks = [ALL] * (len(words) - 1) + [ALL >> 8 * rest]
                    self.output = len(words) // 2 + self.command(
                        Opcode.READ, list(zip(words, masks, strict=True)),
                        address=step["address"], count=len(words))
        counters, ends = predicted(program, self.config)
        first = self.command(Opcode.COUNTERS, [
            (counters.get(name, 0) if half == 0 else 0, ALL if name in counters else NONE)
            for name in isa.COUNTERS for half in range(2)])
        busy = first + 2 * isa.COUNTERS.index("busy_cycles")
        self.answers[busy] = 0, NONE
        self.intervals.append((None, busy, counters["busy_cycles"]))
        places = [(self.command(Opcode.READ, [(0, NONE)], memory=Memory.PROGRAM, address=address,
                                count=1), end) for address, end in ends.items()]
        for place, end in places[1:]:
            self.intervals.append((places[0][0], place, end - places[0][1]))

    def _send(self, words: list[int]) -> None:
        """Append commands that are answered without payload."""
        while words:
            size = 3 + (words[2] if words[0] >> 20 & 15 == Opcode.WRITE else 0)
            self.words += words[:size]
            self.answers.append((isa.RESPONSE_SYNC << 24 | (words[0] & 0xF00000), ALL))
            del words[:size]


def resident(script: Script) -> None:
    """Run some layers in one go, twice."""
    network = (NetworkBuilder((5, 4, 3), 3).conv(5, (3, 3), padding=((1, 1), (1, 1)))
               .conv(1, (2, 2), depthwise=True).pool("max_pool", (2, 2), (1, 1), ((1, 0), (0, 1)))
               .network())
    script.infer(network, 1)
    script.infer(network, 2, "double")


def streamed(script: Script) -> None:
    """Run what has more filters than the scratchpads hold; an addition and a mean."""
    network = (NetworkBuilder((3, 3, 12), 5).conv(24, (3, 3), stride=(2, 2)).conv(24, (1, 1))
               .add("t1").mean().network())
    script.infer(network, 3)


def errors(script: Script) -> None:
    """Send bad words and a bad descriptor, and a good run after them."""
    script.command(Opcode.INFO, [(script.config.info()[name], ALL) for name in isa.INFO_FIELDS])
    script.words.append(0x12345678)
    script.answers.append((isa.RESPONSE_SYNC << 24 | Status.BAD_SYNC << 16, ALL))
    script.command(Opcode.WRITE, memory=Memory.GLOBAL_BUFFER, address=2, count=3, data=[1, 2, 3],
                   status=Status.BAD_ADDRESS)
    script.command(Opcode.WRITE, memory=Memory.PROGRAM, address=0, count=1, data=[15])
    script.command(Opcode.RUN, address=0, count=1)
    script.command(Opcode.WAIT, [(0, NONE)] * 2, status=Status.BAD_DESCRIPTOR)
    script.infer(NetworkBuilder((3, 3, 2), 7).conv(3, (2, 2)).network(), 4)


def drawn(script: Script) -> None:
    """Run small convolutions with anything drawn."""
    for seed in range(9):
        rng = np.random.default_rng(seed)
        h, w, c, m = (int(n) for n in rng.integers(1, 7, 4))
        r, s = int(rng.integers(1, h + 1)), int(rng.integers(1, w + 1))
        padding = tuple((int(rng.integers(0, n // 2 + 1)), 0) for n in (r, s))
        depthwise = bool(rng.integers(0, 2))
        builder = NetworkBuilder((h, w, c), seed).conv(
            1 + m % 3 if depthwise else m, (r, s), stride=(int(rng.integers(1, 4)), 1 + seed % 3),
            padding=padding, depthwise=depthwise, extreme=True)
        script.infer(builder.network(), seed, ROUNDINGS[seed % 2])


SCRIPTS: dict[str, Callable[[Script], None]] = {
    "resident": resident, "streamed": streamed, "errors": errors, "drawn": drawn}


def run(path: Path, make: Callable[[Script], None], dataflow: str = DATAFLOWS[0],
        **options: object) -> None:
    script = Script(replace(SMALL, dataflow=dataflow))
    make(script)
    file = path / "script.json"
    file.write_text(json.dumps(vars(script) | {"config": None}))
    run_bench(Accelerator(script.config), test_module="oarlock.sim.benches.accelerator",
              parameters={"file": str(file)}, **options)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_accelerator(tmp_path: Path, name: str, dataflow: str) -> None:
    # All kinds of stalls for one, the most of them for the others.
    run(tmp_path, SCRIPTS[name], dataflow,
        only=None if name == "resident" else "p_idle=0.5/p_stall=0.5$")


@pytest.mark.parametrize(("sabotage", "message"), [
    ("output", "answers: item .* must be"),
    ("cycles", "cycles between answers .* must be"),
])
def test_a_wrong_accelerator_is_noticed(tmp_path: Path, sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        run(tmp_path, resident, only="p_idle=0/p_stall=0$", env={"OARLOCK_SABOTAGE": sabotage})

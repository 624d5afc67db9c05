"""AXI4-Stream rules on the ports of the Verilog, by a model of its own."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ...hw import isa
from ...hw.isa import Memory, Opcode, Status, command
from ..bench import Bench, bench_test


__all__ = ["AxiMaster", "AxiProtocolError", "AxiSlave", "framed_answers"]

COMMANDS = 40


class AxiProtocolError(AssertionError):
    """A rule of AXI4-Stream (ARM IHI 0051A, 2.2.1) was broken."""


class AxiMaster:
    """Sends packets; TVALID waits for no TREADY, and stays with TDATA and TLAST until it comes."""

    def __init__(self, bench: Bench, prefix: str, *, p_idle: float) -> None:
        self._bench, self._prefix, self._p_idle = bench, prefix, p_idle
        self._rng = bench.rng(f"axi {prefix}")
        self.beats: deque[tuple[int, bool]] = deque()
        cocotb.start_soon(self._run())

    def send(self, *packets: list[int]) -> None:
        """Queue packets."""
        for packet in packets:
            self.beats.extend((word, n == len(packet) - 1) for n, word in enumerate(packet))

    async def _run(self) -> None:
        dut, prefix, edge = self._bench.dut, self._prefix, RisingEdge(self._bench.dut.clk)
        valid, ready = getattr(dut, f"{prefix}_tvalid"), getattr(dut, f"{prefix}_tready")
        data, last = getattr(dut, f"{prefix}_tdata"), getattr(dut, f"{prefix}_tlast")
        while True:
            offers = bool(self.beats) and self._rng.random() >= self._p_idle
            valid.value = offers
            # Outside of transfers anything may be there.
            data.value, last.value = (self.beats[0] if offers else
                                      (self._rng.getrandbits(32), self._rng.getrandbits(1)))
            await edge
            while offers and not int(ready.value):
                await edge
            if offers:
                self.beats.popleft()


class AxiSlave:
    """Takes packets, ready or not at random, and checks what the master promises."""

    def __init__(self, bench: Bench, prefix: str, see: Callable[[list[int]], object], *,
                 p_stall: float) -> None:
        self._bench, self._prefix, self._p_stall, self._see = bench, prefix, p_stall, see
        self._rng = bench.rng(f"axi {prefix}")
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut, prefix, edge = self._bench.dut, self._prefix, RisingEdge(self._bench.dut.clk)
        valid, ready = getattr(dut, f"{prefix}_tvalid"), getattr(dut, f"{prefix}_tready")
        data, last = getattr(dut, f"{prefix}_tdata"), getattr(dut, f"{prefix}_tlast")
        held: tuple[int, int] | None = None
        packet: list[int] = []
        takes = False
        while True:
            ready.value = takes
            await edge
            beat = (int(data.value), int(last.value)) if int(valid.value) else None
            if held is not None and beat is None:
                raise AxiProtocolError(f"{prefix}: TVALID dropped before the transfer")
            if held is not None and beat != held:
                raise AxiProtocolError(f"{prefix}: TDATA or TLAST changed before the transfer, "
                                       f"from {held} to {beat}")
            held = beat
            if beat is not None and takes:
                held = None
                packet.append(beat[0])
                if beat[1]:
                    self._see(packet)
                    packet = []
            takes = self._rng.random() >= self._p_stall


def random_command(rng: random.Random, sizes: Mapping[str, Any]) -> tuple[list[int], int, int]:
    """Return a command, and status and length of its answer."""
    words = sizes["buffer_bytes"] // 4
    count = rng.choice([0, 1, 2, 5, 40])
    address = 4 * rng.randrange(words - count)
    match rng.randrange(7):
        case 0:
            return command(Opcode.INFO), Status.OK, len(isa.INFO_FIELDS)
        case 1:
            return command(Opcode.COUNTERS), Status.OK, isa.COUNTER_WORDS
        case 2:
            return command(Opcode.WAIT), Status.OK, 2
        case 3:
            return [*command(Opcode.WRITE, memory=Memory.GLOBAL_BUFFER, address=address,
                             count=count),
                    *(rng.getrandbits(32) for _ in range(count))], Status.OK, 0
        case 4:
            return command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, address=address,
                           count=count), Status.OK, count
        case 5:
            return command(Opcode.READ, memory=Memory.FILTER, count=3), Status.BAD_MEMORY, 0
        case _:
            return command(Opcode.READ, memory=Memory.PROGRAM, address=3,
                           count=count), Status.OK, count


@bench_test(cycles=60_000, p_idle=[0, 0.5], p_stall=[0, 0.8])
async def framed_answers(bench: Bench, p_idle: float, p_stall: float) -> None:
    """Send commands; every answer must be one packet, and what was written must be read.

    With ``OARLOCK_SABOTAGE=length`` packets must be too long, to show that their length matters.
    """
    rng, board = bench.rng("commands"), bench.scoreboard("answers")
    memory: dict[int, int] = {}

    def see(packet: list[int]) -> None:
        wanted, reads = expected.popleft()
        extra = os.environ.get("OARLOCK_SABOTAGE") == "length"
        assert len(packet) == 1 + extra + (packet[0] & 0xFFFF), "TLAST is not where the answer ends"
        for address, value in zip(reads, packet[1:], strict=False):
            assert memory.get(address, value) == value
        board.see(packet[0])
        assert wanted == packet[0]

    expected: deque[tuple[int, range]] = deque()
    master = AxiMaster(bench, "s_axis", p_idle=p_idle)
    AxiSlave(bench, "m_axis", see, p_stall=p_stall)
    # The reset is registered inside.
    await bench.cycle(4)
    for _ in range(COMMANDS):
        words, status, length = random_command(rng, bench.parameters)
        header = words[0]
        reads = range(0)
        if header >> 16 & 0xFF == Opcode.READ << 4 | Memory.GLOBAL_BUFFER:
            reads = range(words[1], words[1] + 4 * words[2], 4)
        answer = (isa.RESPONSE_SYNC << 24 | (header >> 20 & 15) << 20 | status << 16 | length)
        expected.append((answer, reads))
        board.expect(answer)
        # Reads of a batch would see later writes: one command at a time is in the model's memory.
        master.send(words)
        if header >> 16 & 0xFF == Opcode.WRITE << 4 | Memory.GLOBAL_BUFFER:
            while board.pending:
                await bench.cycle()
            memory.update(zip(range(words[1], words[1] + 4 * words[2], 4), words[3:],
                              strict=True))
    while master.beats or expected:
        await bench.cycle()

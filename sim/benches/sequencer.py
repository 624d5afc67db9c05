"""The sequencer against a copy of its memory; the engine is a stub."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb

from ...hw import isa
from ..bench import Bench, bench_test


__all__ = ["random_runs"]

RUNS = 25


class Engine:
    """Is busy for a random time after each start; knows when it was idle again.

    With ``OARLOCK_SABOTAGE`` its record is wrong, to show that the bench would notice.
    """

    def __init__(self, bench: Bench, longest: int) -> None:
        self.bench, self.dut, self.longest = bench, bench.dut, longest
        self.rng = bench.rng("engine")
        self.starts = bench.scoreboard("starts")
        self.time = (3 << 32) - 900  # done_cycle overflows on the way
        self.ends: list[int] = []
        self.lengths = isa.descriptor_lengths(
            *(bench.parameters[name] for name in ("dataflow", "rows", "cols")))
        self.sabotage = os.environ.get("OARLOCK_SABOTAGE")
        self.dut.engine_busy.value = 0
        cocotb.start_soon(self.run())

    async def cycle(self) -> isa.DescriptorKind | None:
        """Count a cycle; return the kind of which a start was seen in it."""
        self.dut.cycle.value = self.time
        await self.bench.cycle()
        self.time += 1
        started = [kind for n, kind in enumerate(self.lengths)
                   if int(getattr(self.dut, f"start__{n}").value)]
        assert len(started) <= 1
        return started[0] if started else None

    async def run(self) -> None:
        while True:
            started = await self.cycle()
            if started is None:
                continue
            words = [int(getattr(self.dut, f"words__{n}").value)
                     for n in range(self.lengths[started])]
            # Word 1 is where the end of an earlier run may stand.
            self.starts.see((started, words[0], *words[2:-1],
                             words[-1] ^ (self.sabotage == "last word")))
            busy = self.rng.choice([1, 2, self.rng.randint(1, self.longest)])
            for _ in range(busy):
                self.dut.engine_busy.value = 1
                assert await self.cycle() is None
            self.dut.engine_busy.value = 0
            self.ends.append(self.time + (self.sabotage == "time"))


class Host:
    """Reads and writes program memory, and has a copy of it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.dut, self.rng = bench, bench.dut, bench.rng("host")
        self.memory = [0] * bench.parameters["program_depth"]
        self.compared = 0

    async def write(self, address: int, word: int) -> None:
        self.dut.write_en.value, self.dut.write_addr.value = 1, address
        self.dut.write_data.value = word
        await self.bench.cycle()
        while not int(self.dut.write_ready.value):
            await self.bench.cycle()
        self.dut.write_en.value, self.dut.write_data.value = 0, self.rng.getrandbits(32)
        self.memory[address] = word

    async def check(self, address: int) -> None:
        self.dut.read_valid.value, self.dut.read_addr.value = 1, address
        await self.bench.cycle()
        while not int(self.dut.read_ready.value):
            await self.bench.cycle()
        self.dut.read_valid.value, self.dut.read_addr.value = 0, 0
        await self.bench.cycle()
        found = int(self.dut.read_data.value)
        assert found == self.memory[address], (
            f"word {address} must be {self.memory[address]}, not {found}")
        self.compared += 1


def random_program(rng: random.Random, lengths: dict[isa.DescriptorKind, int], room: int,
                   bad: bool) -> list[list[int]]:
    """Return descriptors, the last of unknown kind if ``bad``."""
    program: list[list[int]] = []
    while True:
        kind = rng.choice([*lengths])
        words = [rng.getrandbits(32) for _ in range(lengths[kind])]
        words[0] = words[0] & ~15 | kind
        if sum(map(len, program)) + len(words) > room or len(program) == 6:
            break
        program.append(words)
        if rng.random() < 0.2:
            break
    if bad:
        program[-1][0] = program[-1][0] & ~15 | rng.choice(
            sorted({0, 1, 3, 7, 15} - {*lengths}))
    return program


@bench_test(cycles=RUNS * 4000, longest=[3, 150], p_idle=[0, 0.5])
async def random_runs(bench: Bench, longest: int, p_idle: float) -> None:
    """Run programs one after the other, some bad, while the host uses what memory is left."""
    dut, rng = bench.dut, bench.rng("programs")
    for name in ("run_start", "write_en", "read_valid", "read_addr"):
        getattr(dut, name).value = 0
    engine, host = Engine(bench, longest), Host(bench)
    depth, free = len(host.memory), 12
    for address in range(depth):
        await host.write(address, rng.getrandbits(32))
    for number in range(RUNS):
        bad = number % 4 == 2
        program = random_program(rng, engine.lengths, depth - free, bad)
        size = sum(map(len, program))
        base = rng.randint(free, depth - size)
        for n, word in enumerate(word for words in program for word in words):
            await host.write(base + n, word)
        # What is run is a part of what is there, beginning anywhere.
        first = rng.randrange(len(program))
        count = len(program) - first if bad else rng.randint(0, len(program) - first)
        part: list[Any] = program[first:first + count]
        ends = engine.ends = []
        base += sum(map(len, program[:first]))
        for words in part[:-1] if bad else part:
            engine.starts.expect((words[0] & 15, words[0], *words[2:]))
        dut.run_start.value, dut.run_address.value, dut.run_count.value = 1, base, count
        await bench.cycle()
        dut.run_start.value, dut.run_address.value = 0, rng.randrange(depth)
        await bench.cycle()
        assert int(dut.busy.value) == (count > 0)
        while int(dut.busy.value):
            if rng.random() < p_idle:
                await bench.cycle()
            elif rng.random() < 0.5:
                await host.write(rng.randrange(free), rng.getrandbits(32))
            else:
                await host.check(rng.randrange(free))
        await bench.cycle()
        assert engine.starts.pending == 0
        if count:
            assert int(dut.fault.value) == bad
        if ends:
            done = int(dut.done_cycles.value)
            assert done == ends[-1], f"done_cycles must be {ends[-1]}, not {done}"
        for words, end in zip(part, ends, strict=not bad):
            host.memory[base + 1] = (end & 0xFFFFFFFF) ^ (engine.sabotage == "record")
            base += len(words)
    for address in range(depth):
        await host.check(address)
    assert engine.starts.seen > RUNS and host.compared > 100

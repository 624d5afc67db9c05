"""The global buffer against a byte array."""

from __future__ import annotations

import os
from collections import deque

from ...hw.global_buffer import GlobalBuffer
from ..bench import Bench, ScoreboardError, bench_test


__all__ = ["random_traffic"]

CYCLES = 1500


class Model:
    """The buffer as a byte array, and what is due at its outputs.

    With ``OARLOCK_SABOTAGE`` it is wrong, to show that the bench would notice.
    """

    def __init__(self, bench: Bench) -> None:
        self.size: int = bench.parameters["size_bytes"]
        self.width: int = bench.parameters["word_bytes"]
        self.ceiling = 1 << (self.size - 1).bit_length()
        # None is a byte of which nothing is known: not written yet, or being written, or outside.
        self.bytes: list[int | None] = [None] * self.ceiling
        self.fresh: set[int] = set()        # written a cycle ago
        self.due: deque[tuple[str, list[int | None]]] = deque([("", [])] * GlobalBuffer.LATENCY)
        self.sabotage = os.environ.get("OARLOCK_SABOTAGE")
        self.compared = {"read": 0, "host": 0}

    def sample(self, dut) -> None:
        """Look at all ports, once a cycle."""
        def port(name: str) -> int:
            return int(getattr(dut, name).value)

        read_en, write_en = port("read_en"), port("write_en")
        assert port("host_read__ready") == 1 - read_en
        assert port("host_write__ready") == 1 - write_en
        self.compare(port("read_data"), port("host_read_data"), port("host_read_valid"))

        write: tuple[int, int, int] = (0, 0, 0)
        if write_en:
            write = (port("write_addr"), port("write_count"), port("write_data"))
        elif port("host_write__valid"):
            payload = port("host_write__payload")
            write = (payload & 0xFFFFFF, 4, payload >> 24)
        now = set(range(write[0], write[0] + write[1]))
        written, self.fresh = now | self.fresh, now

        if read_en:
            addr = port("read_addr")
            self.due.append(("read", self.get(addr, self.width, written)))
        elif port("host_read__valid"):
            self.due.append(("host", self.get(port("host_read__payload"), 4, written)))
        else:
            self.due.append(("", []))

        addr, count, values = write
        if self.sabotage == "short write" and count == self.width:
            count -= 1
        for n in range(count):
            self.bytes[addr + n] = values >> 8 * n & 255

    def get(self, addr: int, count: int, written: set[int]) -> list[int | None]:
        places = [(addr + n) % self.ceiling for n in range(count)]
        return [None if place in written else self.bytes[place] for place in places]

    def compare(self, read_data: int, host_data: int, host_valid: int) -> None:
        kind, expected = self.due.popleft()
        if self.sabotage == "late host" and kind == "host":
            host_valid = 1 - host_valid
        if host_valid != (kind == "host"):
            raise ScoreboardError(f"host_read_valid must be {kind == 'host'}, not {host_valid}")
        word = host_data if kind == "host" else read_data
        found = [word >> 8 * n & 255 for n in range(len(expected))]
        if any(want not in (None, have) for want, have in zip(expected, found, strict=True)):
            raise ScoreboardError(f"{kind} must be {expected}, not {found}")
        if kind:
            self.compared[kind] += 1


@bench_test(cycles=CYCLES + 200, p_busy=[0.2, 0.8], p_idle=[0, 0.5])
async def random_traffic(bench: Bench, p_busy: float, p_idle: float) -> None:
    """Read and write at random, the accelerator with probability ``p_busy`` each."""
    dut, rng, model = bench.dut, bench.rng("traffic"), Model(bench)
    host_read = bench.source("host_read", p_idle=p_idle)
    host_write = bench.source("host_write", p_idle=p_idle)
    for _ in range(CYCLES // 8):
        host_read.send(4 * rng.randrange(model.size // 4))
        host_write.send(4 * rng.randrange(model.size // 4) | rng.getrandbits(32) << 24)

    for addr in range(0, model.size, model.width):
        dut.write_en.value, dut.write_addr.value = 1, addr
        dut.write_count.value = model.width
        await bench.cycle()
        model.sample(dut)

    focus = 0
    for _ in range(CYCLES):
        # Neighbouring addresses now and then, so that what was written is read.
        if rng.random() < 0.1:
            focus = rng.choice([0, model.size - model.width, rng.randrange(model.size)])
        dut.read_en.value = rng.random() < p_busy
        dut.read_addr.value = focus + rng.randint(-model.width, model.width) & 0xFFFFFF
        addr = min(focus + rng.randrange(2 * model.width), model.size - 1)
        dut.write_en.value = rng.random() < p_busy
        dut.write_addr.value = addr
        dut.write_count.value = rng.randint(1, min(model.width, model.size - addr))
        dut.write_data.value = rng.getrandbits(8 * model.width)
        await bench.cycle()
        model.sample(dut)
    assert min(model.compared.values()) > CYCLES // 20

    dut.read_en.value = dut.write_en.value = 0

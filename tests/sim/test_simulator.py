"""The Verilator harness, on a component that answers what it is sent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth import *
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from oarlock.gen.config import ArrayConfig
from oarlock.gen.verilog import verilog_of
from oarlock.sim import simulator
from oarlock.sim.simulator import Simulator, build
from oarlock.sim.toolchain import ToolError
from oarlock.sim.transport import SimTransport


DEPTH = 4

#: The least around an array.
SMALL = ArrayConfig(
    rows=1, cols=1, ifmap_depth=16, filter_depth=512, psum_depth=4, word_bytes=4, buffer_bytes=2048,
    lanes=1, lane_depth=2, parameter_depth=64, program_depth=512, counters=False, run_length=False)


class Echo(wiring.Component):
    """Answers every word plus a constant; takes none in every eighth cycle."""

    def __init__(self, constant: int):
        self.constant = constant
        super().__init__({
            "s_axis_tdata": In(32), "s_axis_tvalid": In(1), "s_axis_tready": Out(1),
            "m_axis_tdata": Out(32), "m_axis_tvalid": Out(1), "m_axis_tready": In(1)})

    def elaborate(self, platform):
        m = Module()

        m.submodules.fifo = fifo = SyncFIFO(width=32, depth=DEPTH)
        count = Signal(3)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [
            fifo.w_data.eq(self.s_axis_tdata + self.constant),
            fifo.w_en.eq(self.s_axis_tvalid & count.any()),
            self.s_axis_tready.eq(fifo.w_rdy & count.any()),
            self.m_axis_tdata.eq(fifo.r_data),
            self.m_axis_tvalid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.m_axis_tready),
        ]

        return m


def echo(constant: int) -> str:
    return verilog.convert(Echo(constant), name="oarlock", emit_src=False,
                           strip_internal_attrs=True)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OARLOCK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def library(own_cache: Path) -> Path:
    return build(echo(1))


def words(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint32)


@pytest.mark.parametrize("count", [1, DEPTH, 1000, 100_000])
def test_words_come_back_in_order(library: Path, count: int) -> None:
    sent = words(count)
    with Simulator(library) as dut:
        done = dut.exchange(sent, count, 2 * count + 100)
        assert dut.cycles == done.cycles
    assert done.sent == count
    assert np.array_equal(done.words, sent + np.uint32(1))
    # Nearly one a cycle: seven in eight.
    assert done.cycles <= count * 8 // 7 + 8


def test_nothing_to_do_takes_no_time(library: Path) -> None:
    with Simulator(library) as dut:
        assert dut.exchange(words(0), 0, 100).cycles == 0


def test_what_is_not_wanted_yet_stays(library: Path) -> None:
    sent = words(DEPTH)
    with Simulator(library) as dut:
        assert dut.exchange(sent, 0, 100).sent == DEPTH
        assert dut.exchange(sent, 0, 100).sent == 0
        first = dut.exchange(words(0), 1, 100)
        rest = dut.exchange(words(0), DEPTH, 100)
        dut.reset()
    assert [*first.words, *rest.words] == [*(sent + np.uint32(1))]
    assert rest.cycles == 100


def test_cycles_run_out(library: Path) -> None:
    ticks: list[int] = []
    with Simulator(library) as dut:
        done = dut.exchange(words(3), 4, 3 * simulator.CHUNK + 7, ticks.append)
    assert (done.sent, len(done.words), done.cycles) == (3, 3, 3 * simulator.CHUNK + 7)
    assert ticks == [simulator.CHUNK, 2 * simulator.CHUNK, 3 * simulator.CHUNK, done.cycles]


def test_reset_empties_it(library: Path) -> None:
    with Simulator(library) as dut:
        dut.exchange(words(3), 0, 100)
        dut.reset()
        assert not len(dut.exchange(words(0), 1, 100).words)


def test_two_designs_in_one_process(library: Path) -> None:
    with Simulator(library) as one, Simulator(build(echo(2))) as two, Simulator(library) as three:
        for dut, constant in ((one, 1), (two, 2), (three, 1), (one, 1)):
            assert dut.exchange(words(2), 2, 100).words[0] == words(2)[0] + np.uint32(constant)


def test_transport(library: Path) -> None:
    with Simulator(library) as dut, SimTransport(dut) as transport:
        assert np.array_equal(transport.exchange(words(9), 9, 10), words(9) + np.uint32(1))
        assert len(transport.exchange(words(1), 2, 10)) == 1
        transport.close()


def test_the_cache_is_used(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "_run", None)
    assert build(echo(1)) == library


def test_rows_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of an array run the same functions; without the settings each would have its own."""
    class Verilated(Exception):
        pass

    run, settings = simulator._run, simulator._settings
    found: list[int] = []

    def count(command: list[str], folder: Path, *rest: Any) -> None:
        run(command, folder, *rest)
        text = "".join(path.read_text() for path in folder.glob("*.cpp"))
        found.append(len({*re.findall(r"^void (\w*array_row___nba\w*)\(.*\{$", text,
                                      re.MULTILINE)}))
        raise Verilated

    verilog = verilog_of(replace(SMALL, rows=6))
    monkeypatch.setattr(simulator, "_run", count)
    # Inputs that are not public are merged with what drives them.
    for private in ("$^", "^public.*\n"):
        monkeypatch.setattr(simulator, "_settings", lambda text, private=private: re.sub(
            private, "", settings(text), flags=re.MULTILINE))
        with pytest.raises(Verilated):
            build(verilog)
    shared, own = found
    assert 0 < 2 * shared < own
    assert settings(verilog) and not settings(echo(1))


def test_broken_verilog_is_one_line_and_leaves_nothing(own_cache: Path) -> None:
    before = sorted((own_cache / "simulator").iterdir())
    with pytest.raises(ToolError, match=r"Verilator failed: %Error: oarlock\.v:1") as caught:
        build("module oarlock(; endmodule\n")
    assert "\n" not in str(caught.value)
    assert sorted((own_cache / "simulator").iterdir()) == before
    assert "Error" in (own_cache / "failure.log").read_text()


def test_waves(tmp_path: Path) -> None:
    path = tmp_path / "x.vcd"
    library = build(echo(1), waves=".vcd")
    with Simulator(library, waves=path) as dut:
        dut.exchange(words(9), 9, 100)
    assert "m_axis_tdata" in path.read_text()
    with pytest.raises(FileNotFoundError):
        Simulator(library, waves=tmp_path / "none" / "x.vcd")


def test_fst_without_headers_says_what_to_install(monkeypatch: pytest.MonkeyPatch,
                                                  tmp_path: Path) -> None:
    (tmp_path / "lz4.h").write_text("#error no\n")
    monkeypatch.setenv("CPATH", str(tmp_path))
    with pytest.raises(ToolError, match="apt-get install liblz4-dev zlib1g-dev"):
        build(echo(1), waves=".fst")


def test_an_interrupted_build_leaves_no_process(own_cache: Path, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    # A compiler that takes for ever and has a child of its own.
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!/bin/sh\necho x >{tmp_path}/begun\nsleep 1234.5 & sleep 1234.5\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    code = f"from oarlock.sim.simulator import build; build({echo(3)!r})"
    environ = os.environ | {"OARLOCK_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen([sys.executable, "-c", code], env=environ,
                          stderr=subprocess.PIPE) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate()[1]
    assert os.listdir(tmp_path / "cache" / "simulator") == []
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "sleep 1234.5" not in commands.stdout

"""The bench notices what it is there to notice."""

from __future__ import annotations

import pytest
from faulty_stream import Fault, FaultyStream
from oarlock.sim.bench import BenchFailure, Scoreboard, ScoreboardError, run_bench


def run(fault: Fault, **options: object) -> None:
    run_bench(FaultyStream(), test_module="faulty_stream", parameters={"fault": fault.value},
              **options)


def test_no_fault() -> None:
    run(Fault.NONE)


@pytest.mark.parametrize(("fault", "message"), [
    (Fault.DROP, "ProtocolError: o: valid dropped before the transfer"),
    (Fault.CHANGE, "ProtocolError: o: payload changed before the transfer, from 0x"),
    (Fault.LOSE, "SimTimeoutError"),
    (Fault.EXTRA, "ScoreboardError: words: item .* (is extra|must be)"),
    (Fault.WRONG, "ScoreboardError: words: item .* must be"),
    (Fault.HANG, "SimTimeoutError"),
])
def test_a_fault_is_noticed(fault: Fault, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        run(fault, only="words_pass/p_idle=0.5/p_stall=0.5$")


def test_running_nothing_is_a_failure() -> None:
    with pytest.raises(BenchFailure, match="ran nothing"):
        run(Fault.NONE, only="no_such_bench")


def test_the_seed_is_printed_and_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OARLOCK_SEED", "4711")
    with pytest.raises(BenchFailure, match="OARLOCK_SEED=4711"):
        run(Fault.WRONG, only="words_pass/p_idle=0/p_stall=0$")


def test_scoreboard() -> None:
    board = Scoreboard("words")
    board.expect(1, 2)
    assert board.pending == 2
    board.see(1)
    with pytest.raises(ScoreboardError, match=r"^words: item 1 must be 2, not 3$"):
        board.see(3)
    with pytest.raises(ScoreboardError, match=r"^words: item 1 is extra: 4$"):
        board.see(4)

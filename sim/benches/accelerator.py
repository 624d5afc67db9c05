"""The whole accelerator: words in, with gaps, and words out, with stalls."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..bench import Bench, ScoreboardError, bench_test


__all__ = ["conversation"]


@bench_test(cycles=150_000, p_idle=[0, 0.5], p_stall=[0, 0.5])
async def conversation(bench: Bench, p_idle: float, p_stall: float) -> None:
    """Send the words of a file and compare every answer.

    The file (``bench.parameters["file"]``) is JSON: ``words``; ``answers``, a value and the mask of
    what of it is known; and ``intervals``, numbers of two answers and their difference, which are
    cycles of the device's own that no stall may change.

    With ``OARLOCK_SABOTAGE`` something else is expected, to show that the bench would notice.
    """
    script = json.loads(Path(bench.parameters["file"]).read_text())
    sabotage = os.environ.get("OARLOCK_SABOTAGE")
    answers: list[int] = []
    board = bench.scoreboard("answers")

    def see(word: int) -> None:
        number = len(answers)
        word &= 0xFFFFFFFF  # What is above marks the last word of an answer.
        answers.append(word)
        value, mask = script["answers"][number] if number < len(script["answers"]) else (0, 0)
        # One of the output bytes, in the middle of all.
        flipped = sabotage == "output" and number == script["output"]
        board.see((word ^ flipped) & mask)
        if number < len(script["answers"]) and (word ^ value) & mask:
            raise ScoreboardError(f"answer {number} must be {value:#x}, not {word:#x}")

    board.expect(*(value & mask for value, mask in script["answers"]))
    source = bench.source("i", p_idle=p_idle)
    bench.sink("o", p_stall=p_stall)
    bench.monitor("o", see)
    source.send(*script["words"])
    await bench.finish()
    for first, last, cycles in script["intervals"]:
        found = answers[last] - (answers[first] if first is not None else 0) & 0xFFFFFFFF
        if sabotage == "cycles":
            found += 1
        if found != cycles:
            raise ScoreboardError(f"cycles between answers {first} and {last} must be {cycles}, "
                                  f"not {found}")

# amaranth: UnusedElaboratable=no
"""The systolic array with random weights and positions against numpy's matrix product."""

import random

import numpy as np
import pytest
from cycle_bench import simulate, wrapped
from oarlock.hw.accumulator import Accumulator
from oarlock.hw.systolic_array import SystolicArray


DEPTH = 4               # positions of a bank
ENTRIES = 8             # of the filter memories


def schedule(rng, *, rows, columns, p_idle, early):
    """Return what happens in which cycle, and the sums that must come of it.

    Position tiles alternate between the banks. Everything follows as early as it may, or now and
    then later.

    Parameters
    ----------
    rng : :class:`random.Random`
        Decides everything.
    rows, columns : :class:`int`
        Of the array.
    p_idle : :class:`float`
        Share of occasions on which there is a pause.
    early : :class:`str`
        Which of ``feed``, ``wave`` and ``drain`` comes a cycle before it may, or none.

    Returns
    -------
    filters : int array (entries, rows, columns)
    events : dict of :class:`int` to dict
        By cycle: the ``feed``, ``wave`` and ``drain`` tokens.
    expected : list of (cycle, int array (columns,))
        Sums that the array shows.
    done, gated : :class:`int`
        MACs in which an activation is not zero, and zero.
    lane : list of :class:`int`
        The row that a column reads where weights are ``diagonal``.
    """
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    filters = numbers.choice([-128, 127, 0, 5, -77, 31], (ENTRIES, rows, columns))
    lane = [rng.randrange(rows) for _ in range(columns)]
    events, expected = {}, []

    def at(cycle, name, token):
        slot = events.setdefault(cycle, {})
        assert name not in slot, f"two of {name} in a cycle"
        slot[name] = token

    def pause():
        return rng.randint(1, 7) if rng.random() < p_idle else 0

    latency = SystolicArray.latency(rows, columns)
    begin, spacing = 100, 0     # of the wave before; to the next one, at least
    fed = 0                     # first cycle in which nothing is fed
    free = [0, 0]               # when a bank has been drained
    drain_end = done = gated = 0
    for tile in range(12):
        count, bank = rng.randint(1, DEPTH), tile % 2
        waves = rng.randint(1, 3)
        sums = np.zeros((count, columns), dtype=np.int64)
        for wave in range(waves):
            entry, diagonal = rng.randrange(ENTRIES), rng.randrange(2)
            row_count, used = (rng.choice([size, rng.randint(1, size)]) for size in (rows, columns))
            # Not before the wave before has begun; and that must be fed before the wave begins.
            start = max(fed, begin - SystolicArray.FEED_LEAD) + pause()
            if early == "feed" and start > fed:
                start -= 1
            for step in range(rows):
                at(start + step, "feed", {
                    "valid": 1, "entry": entry, "step": step, "row_count": row_count,
                    "columns": used, "diagonal": diagonal})
            fed = start + rows
            end = begin + spacing
            begin = max(end, fed + SystolicArray.FEED_LEAD) + pause()
            if wave == 0:
                begin = max(begin, free[bank])
            # A place takes a sum every so many cycles, and a row one position a cycle.
            spacing = max(count, Accumulator.DISTANCE)
            sent = begin - 1 if early == "wave" and begin > end else begin

            works = np.zeros((rows, columns), dtype=bool)
            works[:row_count, :used] = True
            if diagonal:
                works[:, :used] = np.arange(rows)[:, None] == np.array(lane[:used])
            x = numbers.choice([0, 0, 255, -255, 100, -13], (count, rows))
            sums += x @ (filters[entry] * works)
            zeros = int((x == 0).sum(axis=0) @ works.sum(axis=1))
            gated += zeros
            done += count * int(works.sum()) - zeros
            for n in range(count):
                place = {"bank": bank, "position": n}
                at(sent + n, "wave", {
                    "valid": 1, "first": int(n == 0), "lanes": x[n].tolist(),
                    "accumulate": {"valid": 1, "first": int(wave == 0), "place": place}})
        # The last position first: it is the one that has only just arrived.
        start = max(begin + count - 1 + latency - (early == "drain"), drain_end) + pause()
        for n in range(count):
            at(start + n, "drain", {"bank": bank, "position": count - 1 - n})
            expected.append((start + n + SystolicArray.DRAIN_LATENCY, sums[count - 1 - n]))
        drain_end = free[bank] = start + count
    return filters, events, expected, done, gated, lane


def run(rows, columns, *, psum_width=32, zero_gating=True, p_idle=0, early=""):
    """Compare all sums in their cycles, and the counts."""
    dut = SystolicArray(rows=rows, cols=columns, filter_depth=ENTRIES, accumulator_depth=DEPTH,
                        psum_width=psum_width, zero_gating=zero_gating)
    assert dut.LATENCY == SystolicArray.latency(rows, columns)
    filters, events, expected, done, gated, lane = schedule(
        random.Random(rows * columns), rows=rows, columns=columns, p_idle=p_idle, early=early)
    expected = dict(expected)
    counts = {"done": 0, "gated": 0}
    last = max(expected) + 50

    async def testbench(ctx):
        for column in range(columns):
            ctx.set(dut.lane[column], lane[column])
            for block in range(-(-rows // 4)):
                for entry in range(ENTRIES):
                    weights = filters[entry, 4 * block:4 * block + 4, column].tolist()
                    ctx.set(dut.filter, {
                        "valid": 1, "columns": 1 << column, "block": block, "address": entry,
                        "weights": weights + [99] * (4 - len(weights))})
                    await ctx.tick()
        ctx.set(dut.filter.valid, 0)
        await ctx.tick().repeat(columns)
        for cycle in range(90, last):
            tokens = events.get(cycle, {})
            ctx.set(dut.feed.valid, 0)
            ctx.set(dut.wave.valid, 0)
            ctx.set(dut.wave.accumulate.valid, 0)
            for name, token in tokens.items():
                ctx.set(getattr(dut, name), token)
            for name in counts:
                counts[name] += ctx.get(getattr(dut, name))
            if cycle in expected:
                found = [ctx.get(sums) for sums in dut.sums]
                assert found == wrapped(expected[cycle], psum_width).tolist(), f"cycle {cycle}"
            await ctx.tick()

    simulate(dut, testbench)
    assert gated
    assert counts == {"done": done + (0 if zero_gating else gated),
                      "gated": gated if zero_gating else 0}


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 5), (5, 2), (4, 4)])
@pytest.mark.parametrize("p_idle", [0, 0.5])
def test_matrix_product(rows, columns, p_idle):
    run(rows, columns, p_idle=p_idle)


def test_narrow_sums_without_gating():
    run(3, 3, psum_width=16, zero_gating=False)


@pytest.mark.parametrize(("rows", "columns", "early"), [
    (2, 5, "feed"), (4, 4, "wave"), (2, 5, "drain"), (4, 4, "drain")])
def test_a_cycle_too_early_is_noticed(rows, columns, early):
    with pytest.raises(AssertionError, match="cycle "):
        run(rows, columns, early=early)

"""What the walks over a SYSTOLIC descriptor have in common."""

from amaranth import *


__all__ = ["used_columns", "walk_positions"]


def walk_positions(nest, conv):
    """Return what has ``nest`` walk the positions of each tile, block by block.

    Parameters
    ----------
    nest : :class:`~oarlock.hw.loop_nest.LoopNest`
        With the loops ``q``, ``p``, ``q_tile``, ``p_tile``, ``block`` and ``tile``, the first two
        with an alternative count.
    conv : ``layout(SYSTOLIC_FIELDS)``
        The descriptor.
    """
    return [
        nest.count_q.eq(conv.q_count),
        nest.other_q.eq(conv.q_last),
        nest.choose_q.eq(nest.last_q_tile),
        nest.count_p.eq(conv.p_count),
        nest.other_p.eq(conv.p_last),
        nest.choose_p.eq(nest.last_p_tile),
        nest.count_q_tile.eq(conv.q_tiles),
        nest.count_p_tile.eq(conv.p_tiles),
        nest.count_block.eq(conv.block_count),
        nest.count_tile.eq(conv.tile_count),
    ]


def used_columns(nest, conv):
    """Return how many columns the filters at the nest's present ``block`` and ``tile`` take."""
    partial = nest.last_block & (nest.last_tile | conv.part_each)
    return Mux(partial, conv.columns_last, conv.columns)

"""Descriptor layouts against the packing that software does."""

import random

import pytest
from amaranth import *
from amaranth.lib import data
from oarlock.hw import isa
from oarlock.hw.descriptor import layout


def view(fields, words):
    """Read words through the layout, without a simulator."""
    bits = sum(word << 32 * n for n, word in enumerate(words))
    constant = data.Const(layout(fields), bits)
    return {name: constant[name] for name, _ in fields}


@pytest.mark.parametrize("fields", [
    isa.CONV_FIELDS, isa.ROW_FIELDS, isa.COLUMN_FIELDS, isa.BEAT_FIELDS, isa.VECTOR_FIELDS])
def test_layout_reads_what_pack_wrote(fields):
    rng = random.Random(1)
    assert layout(fields).size == 32 * isa.word_count(fields)
    for _ in range(20):
        values = {name: rng.getrandbits(abs(width)) - (1 << -width - 1 if width < 0 else 0)
                  for name, width in fields}
        assert view(fields, isa.pack(fields, values)) == values


def test_layout_knows_padding_and_signs():
    fields = (("a", 20), ("b", -20), ("c", 4))
    assert layout(fields).size == 64
    assert layout(fields)["b"].offset == 32
    assert layout(fields)["b"].shape == signed(20)
    assert view(fields, [0, 0xFFFFF]) == {"a": 0, "b": -1, "c": 0}
    assert view(fields, [0, 0x7FFFF]) != {"a": 0, "b": -1, "c": 0}

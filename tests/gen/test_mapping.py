"""The space of mappings: published bounds, limits, and a search that honours them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import shared_data
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.conv_shape import KINDS, ConvShape, conv_shape, variant
from oarlock.gen.mapping import Mapping, MappingError, bound_cycles, search
from oarlock.gen.tflite_import import load


# Source: architecture.md, section 3, columns "mapping bound 12x12" and "16x16".
BOUNDS = {"kws_ref_model": (20506, 10564), "pretrainedResnet_quant": (89702, 48836),
          "vww_96_int8": (52894, 30148), "ad01_int8": (1915, 1036),
          "str_ww_ref_model": (5857, 3231)}

SHAPE = ConvShape(m=16, c=16, p=32, q=32, r=3, s=3, h=32, w=32, stride_y=1, stride_x=1, pad_y=1,
                  pad_x=1, in_y=512, in_x=16, out_y=512, out_x=16)
FLAGSHIP = load_config("ulx3s-85f")


def compute_cycles(mapping: Mapping) -> int:
    """Count the MAC cycles of a mapping by hand: tiles, strips, output columns, taps, filters."""
    shape = mapping.shape
    channels = mapping.t_count if shape.depthwise else -(-shape.c // mapping.lanes)
    return (mapping.tiles * -(-shape.p // mapping.pc) * -(-shape.q // mapping.qc)
            * shape.r // mapping.r_groups * shape.s * channels * mapping.m_count)


@pytest.mark.parametrize("model", BOUNDS)
@pytest.mark.parametrize(("size", "column"), [(12, 0), (16, 1)])
def test_published_bounds(model: str, size: int, column: int) -> None:
    network = load(shared_data.shared_file(f"models/{model}.tflite"))
    config = replace(FLAGSHIP, rows=size, cols=size)
    total = sum(bound_cycles(conv_shape(layer, network.tensors), config)
                for layer in network.layers if layer.weights is not None)
    assert total == BOUNDS[model][column]


def test_worked_example() -> None:
    # architecture.md: R3 x C4 | P12 takes 18,432 cycles; "another split does better".
    best = search(SHAPE, FLAGSHIP)[0]
    assert bound_cycles(SHAPE, FLAGSHIP) <= compute_cycles(best) < 18432
    assert compute_cycles(best) <= best.cycles < 18432


@pytest.mark.parametrize("config", [
    FLAGSHIP, load_config("tiny"), load_config("tiny", rows=3, cols=5)])
@pytest.mark.parametrize("changes", [
    {}, {"depthwise": True}, {"c": 1, "in_x": 1, "in_y": 32},
    {"stride_y": 2, "stride_x": 2, "p": 16, "q": 16}])
def test_front_is_within_limits(config: ArrayConfig, changes: dict[str, int]) -> None:
    shape = replace(SHAPE, **changes)
    front = search(shape, config)
    for faster, smaller in pairwise(front):
        assert faster.cycles <= smaller.cycles
        assert faster.filter_entries > smaller.filter_entries
    for mapping in front:
        rows = mapping.r_groups * mapping.groups * (1 if shape.depthwise else mapping.lanes)
        assert rows <= config.rows
        assert mapping.pc * mapping.qc * mapping.mc <= config.cols
        assert mapping.u_count <= config.psum_depth
        window = (mapping.shape.r // mapping.r_groups // mapping.r_chunks * mapping.shape.s
                  * mapping.t_count)
        assert window <= config.ifmap_depth
        assert mapping.filter_entries == mapping.entries <= config.filter_depth
        assert compute_cycles(mapping) <= mapping.cycles


def test_limit_of_filter_entries() -> None:
    front = search(SHAPE, FLAGSHIP)
    limit = front[0].filter_entries - 1
    assert search(SHAPE, FLAGSHIP, max_entries=limit) == front[1:]
    with pytest.raises(MappingError, match="fits 1 filter bytes"):
        search(SHAPE, FLAGSHIP, max_entries=1)


def test_one_step() -> None:
    shape = replace(SHAPE, p=4, q=1, m=20)
    for mapping in search(shape, FLAGSHIP, one_step=True):
        assert mapping.tiles == 1
        assert (mapping.pc, mapping.qc) == (4, 1) or mapping.shape.swapped


def test_variants_compute_the_same() -> None:
    pointwise = replace(SHAPE, r=1, s=1, pad_y=0, pad_x=0)
    whole = replace(SHAPE, r=32, s=32, p=1, q=1, pad_y=0, pad_x=0)
    # Its columns lie next to each other.
    column = replace(SHAPE, w=1, q=1, s=1, pad_x=0, in_y=16, out_y=16)
    expected = {"pixels": pointwise, "flat": whole, "swap fold": column}
    for kind in KINDS:
        shape = expected.get(kind, SHAPE)
        form = variant(shape, kind)
        assert form is not None and form.kind == kind
        assert form.macs == shape.macs
    assert variant(SHAPE, "pixels") is None
    assert variant(SHAPE, "flat") is None
    assert variant(replace(SHAPE, depthwise=True), "fold") is None
    # A part of an image, with a pitch of its own, is no list of pixels.
    assert variant(replace(pointwise, in_y=1024), "pixels") is None


def test_names_for_people() -> None:
    one = load_config("tiny", rows=1, cols=1, lanes=1, filter_depth=4096)
    mapping = search(SHAPE, one)[0]
    assert mapping.text == "1 | 1"
    assert "C4" in search(replace(SHAPE, r=1, s=1), load_config("tiny"))[0].text

"""Mappings on the weight-stationary array: what they cover, what they cost, what others need."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shared_data
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_networks import NetworkBuilder, program_of
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.conv_shape import ConvShape, conv_shape
from oarlock.gen.counts import predicted
from oarlock.gen.lower import Requantization
from oarlock.gen.mapping import MappingError
from oarlock.gen.network import Network
from oarlock.gen.systolic_cycles import systolic_cycles
from oarlock.gen.systolic_lower import filter_writes, lower_conv
from oarlock.gen.systolic_mapping import SystolicMapping, bound_cycles, search
from oarlock.gen.tflite_import import load
from oarlock.hw import isa


FLAGSHIP = load_config("ulx3s-85f", dataflow="weight-stationary")
HOW = Requantization(zero_point_in=0, zero_point_out=0, low=-128, high=127, rule=isa.Rule.SINGLE)


def fields_of(mapping: SystolicMapping, config: ArrayConfig) -> dict[str, int]:
    """Return the descriptor of a mapping."""
    return lower_conv(mapping, config, HOW, in_base=0, out_base=0, filter_base=0,
                      parameter_base=0).fields


@st.composite
def problems(draw: st.DrawFn) -> tuple[Network, ArrayConfig]:
    """Draw a layer, and an array on which all its forms are possible."""
    def size(most: int) -> int:
        return draw(st.integers(1, most))

    window = size(4), size(4)
    builder = NetworkBuilder((size(20), size(20), size(20)), size(99)).conv(
        draw(st.integers(1, 20)), window, stride=(size(3), size(3)), depthwise=draw(st.booleans()),
        padding=tuple((taps - 1, taps // 2) for taps in window))
    rows, cols = size(16), size(16)
    config = ArrayConfig(
        dataflow="weight-stationary", rows=rows, cols=cols, lanes=size(min(cols, 8)),
        lane_depth=16, accumulator_depth=1 << size(8), filter_depth=32768,
        word_bytes=draw(st.sampled_from([8, 16])))
    return builder.network(), config


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(problem=problems())
def test_mappings_of_drawn_layers(problem: tuple[Network, ArrayConfig]) -> None:
    network, config = problem
    layer = network.layers[0]
    assert layer.weights is not None
    front = search(conv_shape(layer, network.tensors), config)
    for faster, smaller in pairwise(front):
        assert faster.cycles <= smaller.cycles
        assert faster.filter_entries > smaller.filter_entries
    for mapping in front:
        assert position_tiles(fields_of(mapping, config), mapping.shape) == mapping.position_tiles
        assert max(mapping.position_tiles) <= config.accumulator_depth
        assert mapping.entries == mapping.filter_entries <= config.filter_depth
        # Every weight is somewhere, once; what else is in the memories is zero.
        writes = filter_writes(mapping, config, layer.weights)
        assert sum(len(write.data) for write in writes) == mapping.image_words
        assert {len(write.data) for write in writes} == {mapping.entries}
        image = np.concatenate([write.data.ravel() for write in writes])
        np.testing.assert_array_equal(np.sort(image[image != 0]),
                                      np.sort(layer.weights[layer.weights != 0]))
        bound = bound_cycles(conv_shape(layer, network.tensors), config)
        assert bound <= systolic_cycles(fields_of(mapping, config), config).cycles


def position_tiles(f: dict[str, int], shape: ConvShape) -> list[int]:
    """Return the sizes of a descriptor's position tiles, which must be the output exactly."""
    covered = np.zeros((shape.p, shape.q), dtype=int)
    sizes = []
    for p_tile in range(f["p_tiles"]):
        for q_tile in range(f["q_tiles"]):
            p = f["p_last" if p_tile == f["p_tiles"] - 1 else "p_count"]
            q = f["q_last" if q_tile == f["q_tiles"] - 1 else "q_count"]
            top, left = p_tile * f["p_count"], q_tile * f["q_count"]
            assert top + p <= shape.p and left + q <= shape.q
            assert p > 0 and q > 0
            covered[top:top + p, left:left + q] += 1
            sizes.append(p * q)
    assert (covered == 1).all()
    return sizes


@pytest.mark.parametrize("change", [
    {"p_count": 3}, {"p_last": 2}, {"q_last": 4}, {"q_count": 5}, {"p_tiles": 3}, {"q_tiles": 1}])
def test_a_gap_between_position_tiles_is_noticed(change: dict[str, int]) -> None:
    network = NetworkBuilder((9, 9, 4), 1).conv(4, (3, 3)).network()
    config = replace(FLAGSHIP, accumulator_depth=16)
    mapping = search(conv_shape(network.layers[0], network.tensors), config)[0]
    fields = fields_of(mapping, config)
    assert position_tiles(fields, mapping.shape) == [16, 12, 12, 9]
    with pytest.raises(AssertionError):
        position_tiles(fields | change, mapping.shape)


SHAPE = ConvShape(m=40, c=16, p=32, q=32, r=3, s=3, h=32, w=32, stride_y=1, stride_x=1, pad_y=1,
                  pad_x=1, in_y=512, in_x=16, out_y=1280, out_x=40)


def test_limit_of_filter_entries() -> None:
    front = search(SHAPE, FLAGSHIP)
    # Folded, 48 activations lie next to each other: 3 x 4 words instead of 3 x 3 x 2; 4 blocks.
    assert [(mapping.shape.kind, mapping.filter_entries) for mapping in front] == [("fold", 48)]
    # Tiles of 176 positions are as fast as of 256, and the last one's drain is shorter.
    assert front[0].text == "SC12 | M12, 16 x 11"
    with pytest.raises(MappingError, match="fits 47 filter bytes per PE"):
        search(SHAPE, FLAGSHIP, max_entries=47)
    plain = search(SHAPE, FLAGSHIP, kinds=frozenset({"plain"}))
    assert [mapping.filter_entries for mapping in plain] == [72]
    assert plain[0].text == "C12 | M12, 16 x 11"


def test_one_step() -> None:
    for shape in (replace(SHAPE, m=12, p=8), replace(SHAPE, m=5, p=1, q=1, depthwise=False)):
        for mapping in search(shape, FLAGSHIP, one_step=True):
            assert mapping.blocks == mapping.tiles == len(mapping.position_tiles) == 1
    for shape in (replace(SHAPE, m=13, p=8), replace(SHAPE, m=12, p=9),
                  replace(SHAPE, m=16, p=8, depthwise=True)):
        with pytest.raises(MappingError):
            search(shape, FLAGSHIP, one_step=True)


def test_a_smaller_image_finds_its_filters_in_the_same_places() -> None:
    mapping = search(SHAPE, FLAGSHIP)[0]
    part = mapping.adapted(replace(SHAPE, p=5, h=6))
    assert sum(position_tiles(fields_of(part, FLAGSHIP), part.shape)) == 5 * 32
    assert part.shape.kind == mapping.shape.kind
    names = ("row_count", "c_count", "blocks", "tiles", "columns", "window", "filter_entries")
    for name in names:
        assert getattr(part, name) == getattr(mapping, name)


# Real networks.

# How far an estimate may be off. It leaves out that a drain waits for sums to settle, where a tile
# has no more waves than turns of the lanes, and for parameters, where it has few positions.
NETWORK_ERROR, LAYER_ERROR, LAYER_CYCLES = 0.01, 0.10, 110


@pytest.mark.parametrize("model", shared_data.MODELS)
@pytest.mark.parametrize("preset", ["tiny", "ulx3s-85f"])
def test_estimates_of_real_networks(model: str, preset: str) -> None:
    network = load(shared_data.shared_file(f"models/{model}.tflite"))
    config = load_config(preset, dataflow="weight-stationary", filter_depth=32768)
    estimates = exacts = 0
    for layer in network.layers:
        if layer.weights is None:
            continue
        shape = conv_shape(layer, network.tensors)
        mapping = search(shape, config)[0]
        exact = systolic_cycles(fields_of(mapping, config), config).cycles
        off = abs(mapping.cycles - exact)
        assert off <= max(LAYER_ERROR * exact, LAYER_CYCLES), layer.name
        assert bound_cycles(shape, config) <= exact, layer.name
        estimates, exacts = estimates + mapping.cycles, exacts + exact
    assert abs(estimates / exacts - 1) <= NETWORK_ERROR


#: Source: references.md, "SCALE-Sim 3.0 (ideal memory, no prefetch cost)", 12x12,
#: weight-stationary. Name in docs/hardware.md, model, cycles there.
SCALE_SIM = {
    "pretrainedResnet_quant": ("ResNet-8", 134_492), "kws_ref_model": ("DS-CNN", 67_364),
    "vww_96_int8": ("MobileNetV1 (VWW)", 239_019), "ad01_int8": ("autoencoder (AD)", 67_750),
    "str_ww_ref_model": ("1-D DS-CNN (SWW)", 41_642),
}


@pytest.mark.parametrize("model", SCALE_SIM)
def test_no_more_cycles_than_scale_sim(model: str) -> None:
    """Whole networks, vector layers included; the table of docs/hardware.md is this test's."""
    network = load(shared_data.shared_file(f"models/{model}.tflite"))
    name, theirs = SCALE_SIM[model]
    counters, _ = predicted(program_of(network, FLAGSHIP), FLAGSHIP)
    ours = counters["busy_cycles"]
    assert (FLAGSHIP.rows, FLAGSHIP.cols) == (12, 12)
    assert ours <= theirs
    page = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text()
    assert f"| {name} | {theirs:,} | {ours:,} | {ours / theirs:.0%} |\n" in page

# amaranth: UnusedElaboratable=no
"""Sabotage: whatever line of the engine is broken, its layers notice.

A mutant is a module of ``hw/`` with one piece of text replaced, in place of the module itself.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from oarlock.hw import (
    accumulator,
    array_row,
    collector,
    conv_engine,
    drain_scheduler,
    ifmap_loader,
    ifmap_reader,
    mac_scheduler,
    parameter_loader,
    post_processor,
    processing_array,
    processing_element,
    requantizer,
    systolic_array,
    systolic_drain,
    systolic_element,
    systolic_engine,
    systolic_row,
    systolic_scheduler,
    weight_feeder,
)


sys.path.append(str(Path(__file__).with_name("hw")))

import test_conv_engine
import test_systolic_engine


#: Name: the class, who makes it, what is replaced by what, and the layer that must notice.
CONV_MUTANTS = {
    "the first MAC adds to what was there": (
        processing_element.ProcessingElement, array_row,
        "Mux(self.first, 0, held[self.banks[1].accumulate])",
        "held[self.banks[1].accumulate]", "one PE"),
    "a tag too many matches": (
        processing_element.ProcessingElement, array_row,
        "(distance < self.span)", "(distance <= self.span)", "diagonals"),
    "a hole is computed": (
        processing_element.ProcessingElement, array_row,
        "self.mac.active & ~ifmap_read.data.hole", "self.mac.active",
        "channels on lanes, the last is short"),
    "the chain adds both banks": (
        array_row.ArrayRow, processing_array,
        "adds & (drain.bank == bank)", "adds", "no gating"),
    "the chain adds every group": (
        array_row.ArrayRow, processing_array,
        "& (drain.group == own.group)", "",
        "groups, segments of which the last is short"),
    "padding begins a row too late": (
        ifmap_reader.IfmapReader, ifmap_loader,
        "(self.i.row < self.y_limit)", "(self.i.row <= self.y_limit)", "diagonals"),
    "no zero point on the way in": (
        ifmap_reader.IfmapReader, ifmap_loader,
        ".as_signed() - self.zero_point", ".as_signed()", "no gating"),
    "filters of a step begin where the last ended": (
        mac_scheduler.MacScheduler, conv_engine,
        "Mux(step_first, nest.value_filter, filter_next)", "filter_next", "no gating"),
    "a bank is free too early": (
        mac_scheduler.MacScheduler, conv_engine,
        "(full_banks != 2)", "1", "filter and q blocks on columns"),
    "the last segment is a whole one": (
        drain_scheduler.DrainScheduler, conv_engine,
        "less_a_word(whole_now)", "whole_now", "groups, segments of which the last is short"),
    "the collector writes the side that fills": (
        collector.Collector, conv_engine,
        "Cat(~side, group)", "Cat(side, group)", "no gating"),
    "the collector writes the columns of the first lanes again": (
        collector.Collector, conv_engine,
        "group.eq(group + last_lane)", "group.eq(0)", "swapped"),
    "rounding without its half": (
        requantizer.Requantizer, post_processor,
        "carry, mask, C(0, 1)", "carry, C(0, 33)", "one PE"),
}

SYSTOLIC_MUTANTS = {
    "the next weight never takes over": (
        systolic_element.SystolicElement, systolic_row,
        "with m.If(here.valid & here.first):", "with m.If(0):", "one PE"),
    "the next weight is in use at once": (
        systolic_element.SystolicElement, systolic_row,
        "with m.If(here.valid & here.first):", "with m.If(here.valid):",
        "pixels, many filter tiles"),
    "a row shifts as long as the one above": (
        systolic_array.SystolicArray, systolic_engine,
        "(shift.step < self.rows - index)", "(shift.step < self.rows)",
        "the last tile of positions is short both ways"),
    "the sums come a column late": (
        systolic_array.SystolicArray, systolic_engine,
        "token = accumulator.token_next", "pass", "no gating"),
    "activations reach all columns at once": (
        systolic_row.SystolicRow, systolic_array,
        "token = pe.token_next", "pass", "no gating"),
    "weights go down first row first": (
        weight_feeder.WeightFeeder, systolic_array,
        "reversed([*enumerate(weights)])", "[*enumerate(weights)]", "no gating"),
    "a missing channel has a weight": (
        weight_feeder.WeightFeeder, systolic_array,
        "self.lane == row, s2.row_count > row", "self.lane == row, 1",
        "words of channels, the last is short"),
    "a depthwise filter reads every channel": (
        weight_feeder.WeightFeeder, systolic_array,
        "Mux(s2.diagonal, self.lane == row, s2.row_count > row)", "s2.row_count > row",
        "depthwise"),
    "sums begin with what was there": (
        accumulator.Accumulator, systolic_array,
        "Mux(s2.first, 0, held[s2.place.bank])", "held[s2.place.bank]",
        "pixels, many filter tiles"),
    "one bank for all sums": (
        accumulator.Accumulator, systolic_array,
        "write.en.eq(s3.valid & (s3.place.bank == bank))", "write.en.eq(s3.valid)",
        "pixels, many filter tiles"),
    "weights are fed a cycle late": (
        systolic_scheduler.SystolicScheduler, systolic_engine,
        "(step != 0) | ~fed | begins", "(step != 0) | ~fed",
        "filters follow each other faster than positions"),
    "sums follow each other too fast": (
        systolic_scheduler.SystolicScheduler, systolic_engine,
        "return max(rows, Accumulator.DISTANCE)", "return rows", "one lane for all columns"),
    "position tiles find other weights": (
        systolic_scheduler.SystolicScheduler, systolic_engine,
        "m.d.sync += entry.eq(block_entry)", "pass", "strides"),
    "a systolic bank is free too early": (
        systolic_scheduler.SystolicScheduler, systolic_engine,
        "(full_banks != 2)", "1", "one lane for all columns"),
    "the last filter tile is a whole one": (
        systolic_drain.SystolicDrain, systolic_engine,
        "used_columns(nest, conv)", "conv.columns",
        "lanes do not divide columns"),
    "lanes keep the parameters of the first tile": (
        systolic_drain.SystolicDrain, systolic_engine,
        "side.eq(~side)", "side.eq(side)", "pixels, many filter tiles"),
    "padding has the word's bytes": (
        ifmap_reader.IfmapReader, systolic_engine,
        "Mux(inside, self.read_data[lane].as_signed() - self.zero_point, 0)",
        "self.read_data[lane].as_signed() - self.zero_point",
        "the last tile of positions is short both ways"),
    "edges of the image are those of the word": (
        ifmap_reader.IfmapReader, systolic_engine,
        "Mux(self.fold, clamp(count), Mux(count > 0, W, 0))", "Mux(count > 0, W, 0)", "fold"),
    "a third tile of parameters is let in": (
        parameter_loader.ParameterLoader, systolic_engine,
        "(held != 2)", "1", "pixels, many filter tiles"),
}
MUTANTS = CONV_MUTANTS | SYSTOLIC_MUTANTS


@contextlib.contextmanager
def mutated(cls: type, user: types.ModuleType, old: str, new: str) -> Iterator[None]:
    """Have ``user`` make the mutant in place of the class."""
    module = sys.modules[cls.__module__]
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} must be in {module.__name__} once"
    mutant = types.ModuleType(module.__name__)
    mutant.__package__ = module.__package__
    exec(compile(source.replace(old, new), f"mutant of {module.__name__}", "exec",
                 dont_inherit=True), vars(mutant))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user, cls.__name__, getattr(mutant, cls.__name__))
        yield


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name: str) -> None:
    *mutation, layer = MUTANTS[name]
    engine = test_systolic_engine if name in SYSTOLIC_MUTANTS else test_conv_engine
    # Without mutation all layers pass, in the engine's own tests.
    with mutated(*mutation), pytest.raises(AssertionError):
        engine.check_layer(layer)

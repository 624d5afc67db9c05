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
    array_row,
    collector,
    conv_engine,
    drain_scheduler,
    ifmap_loader,
    mac_scheduler,
    post_processor,
    processing_array,
    processing_element,
    requantizer,
)


sys.path.append(str(Path(__file__).with_name("hw")))

from test_conv_engine import check_layer


#: Name: the class, who makes it, what is replaced by what, and the layer that must notice.
MUTANTS = {
    "the first MAC adds to what was there": (
        processing_element.ProcessingElement, array_row,
        "Mux(self.accumulate.first, 0, held[self.accumulate.bank])",
        "held[self.accumulate.bank]", "one PE"),
    "a tag too many matches": (
        processing_element.ProcessingElement, array_row,
        "(distance < self.span)", "(distance <= self.span)", "diagonals"),
    "a hole is computed": (
        processing_element.ProcessingElement, array_row,
        "self.mac.active & ~ifmap_read.data.hole", "self.mac.active",
        "channels on lanes, the last is short"),
    "the chain adds every group": (
        array_row.ArrayRow, processing_array,
        "& (drain.group == self.row.group)", "",
        "groups, segments of which the last is short"),
    "padding begins a row too late": (
        ifmap_loader.IfmapLoader, conv_engine,
        "(nest.value_row < conv.y_limit)", "(nest.value_row <= conv.y_limit)", "diagonals"),
    "no zero point on the way in": (
        ifmap_loader.IfmapLoader, conv_engine,
        ".as_signed() - conv.zero_point_in", ".as_signed()", "no gating"),
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
        "Mux(side, filled[0][n][k], filled[1][n][k])",
        "Mux(side, filled[1][n][k], filled[0][n][k])", "no gating"),
    "rounding without its half": (
        requantizer.Requantizer, post_processor,
        "rounding.eq(bit(s3_right))", "rounding.eq(0)", "one PE"),
}


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
    # Without mutation all layers pass, in test_conv_engine.
    with mutated(*mutation), pytest.raises(AssertionError):
        check_layer(layer)

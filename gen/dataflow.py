"""One interface to what each dataflow maps, lowers and times in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..hw import isa
from . import (
    compact_lower,
    cycles,
    lower,
    mapping,
    systolic_cycles,
    systolic_lower,
    systolic_mapping,
)
from .config import ArrayConfig
from .conv_shape import ConvShape
from .lower import FilterWrite


__all__ = ["ArrayMapping", "Dataflow", "Descriptor", "dataflow_of"]


class ArrayMapping(Protocol):
    """What the compiler needs to know of a mapping.

    Members
    -------
    shape : :class:`~oarlock.gen.conv_shape.ConvShape`
        What is computed, a variant of the network's convolution.
    cycles : :class:`int`
        Estimate.
    filter_entries : :class:`int`
        Filter bytes of every PE, those that an adapted mapping leaves unused included.
    entries : :class:`int`
        Filter bytes of every PE, of this very shape.
    image_words : :class:`int`
        Words that the filters are on the link, without commands.
    text : :class:`str`
        For people.
    """

    @property
    def shape(self) -> ConvShape: ...
    @property
    def cycles(self) -> int: ...
    @property
    def filter_entries(self) -> int: ...
    @property
    def entries(self) -> int: ...
    @property
    def image_words(self) -> int: ...
    @property
    def text(self) -> str: ...

    def adapted(self, shape: ConvShape) -> ArrayMapping:
        """Return the mapping of a smaller convolution that finds its filters in the same places."""
        ...


class Descriptor(Protocol):
    """A descriptor, field by field."""

    fields: dict[str, int]

    def words(self) -> list[int]:
        """Pack the descriptor as the program memory holds it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dataflow:
    """What a dataflow brings along.

    Members
    -------
    kind : :class:`oarlock.hw.isa.DescriptorKind`
        Of its convolutions.
    fields : sequence of :data:`oarlock.hw.isa.Field`
        The descriptor's first part.
    search, bound_cycles
        See :mod:`oarlock.gen.mapping`.
    lower_conv, filter_writes
        See :mod:`oarlock.gen.lower`.
    conv_cycles
        See :mod:`oarlock.gen.cycles`.
    """

    kind: isa.DescriptorKind
    fields: Iterable[isa.Field]
    search: Callable[..., list[Any]]
    bound_cycles: Callable[[ConvShape, ArrayConfig], int]
    lower_conv: Callable[..., Descriptor]
    filter_writes: Callable[[Any, ArrayConfig, np.ndarray], list[FilterWrite]]
    conv_cycles: Callable[..., cycles.ConvTiming]


DATAFLOWS = {
    isa.Dataflow.ROW_STATIONARY: Dataflow(
        kind=isa.DescriptorKind.CONV, fields=isa.CONV_FIELDS, search=mapping.search,
        bound_cycles=mapping.bound_cycles, lower_conv=lower.lower_conv,
        filter_writes=lower.filter_writes, conv_cycles=cycles.conv_cycles),
    isa.Dataflow.WEIGHT_STATIONARY: Dataflow(
        kind=isa.DescriptorKind.SYSTOLIC, fields=isa.SYSTOLIC_FIELDS,
        search=systolic_mapping.search, bound_cycles=systolic_mapping.bound_cycles,
        lower_conv=systolic_lower.lower_conv, filter_writes=systolic_lower.filter_writes,
        conv_cycles=systolic_cycles.systolic_cycles),
}


#: The compact core runs the same descriptors; its cycles are in :mod:`.compact_cycles`.
COMPACT = replace(DATAFLOWS[isa.Dataflow.WEIGHT_STATIONARY], lower_conv=compact_lower.lower_conv)


def dataflow_of(config: ArrayConfig) -> Dataflow:
    """Return the dataflow of an array."""
    if config.compact:
        return COMPACT
    return DATAFLOWS[config.dataflow_code]

"""Descriptors as Amaranth layouts."""

from collections.abc import Iterable

from amaranth import *
from amaranth.lib import data

from . import isa


__all__ = ["layout"]


def layout(fields: Iterable[isa.Field]) -> data.FlexibleLayout:
    """Place fields exactly where :func:`isa.pack` does.

    The size is a whole number of 32-bit words. Bits that belong to no field are in the size
    but have no name, hence not a :class:`data.StructLayout`.
    """
    fields = tuple(fields)
    return data.FlexibleLayout(32 * isa.word_count(fields), {
        name: data.Field(Shape(width, signed), offset)
        for name, (offset, width, signed) in isa.field_positions(fields).items()
    })

"""Values of Amaranth layouts as the integers that cocotb drives and reads."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Shape
from amaranth.lib import data


__all__ = ["bits_of", "fields_of"]


def bits_of(shape: Any, value: Any) -> int:
    """Pack a value, in the form of what ``ctx.set`` takes, into bits."""
    if isinstance(shape, data.StructLayout):
        unknown = set(value) - {name for name, _ in shape}
        assert not unknown, f"layout has no field {unknown}"
        return sum(bits_of(shape[name].shape, part) << shape[name].offset
                   for name, part in value.items())
    if isinstance(shape, data.Layout):
        keys = value.items() if isinstance(value, dict) else enumerate(value)
        return sum(bits_of(shape[key].shape, part) << shape[key].offset for key, part in keys)
    width = Shape.cast(shape).width
    return int(value) & ((1 << width) - 1)


def fields_of(shape: Any, bits: int) -> Any:
    """Unpack bits into dictionaries, lists and integers."""
    if isinstance(shape, data.ArrayLayout):
        return [fields_of(field.shape, bits >> field.offset) for _, field in shape]
    if isinstance(shape, data.Layout):
        return {name: fields_of(field.shape, bits >> field.offset) for name, field in shape}
    plain = Shape.cast(shape)
    return Const(bits & ((1 << plain.width) - 1), plain).value

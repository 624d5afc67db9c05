"""The microprogram of VECTOR descriptors."""

from . import isa
from .micro_assembler import memory
from .micro_convolution import read_fields
from .micro_scale import (
    RULE_SHIFT,
    SCALE,
    clamp,
    read_rule,
    scale,
    second_pass,
)
from .micro_word import Flag, Source, Strobe, Wait, When


__all__ = ["vector"]

#: Fields that are read into registers of their names, but for some.
FIELDS = (
    "left_shift", "zero_point_out", "low", "in_base", "high", "window_y_count", "window_x_count",
    "window_y_step", "zero_point_a", "window_x_step", "zero_point_b", "channels", "x_count",
    "y_count", "in_x_step", "in_y_step", "out_base", "out_x_step", "out_y_step", "bias",
    "multiplier", "multiplier_a", "multiplier_b", "shift", "shift_a", "shift_b",
)


def vector(p):
    """Append the microprogram; it goes to "vector done".

    Channels are taken one by one. Everything is multiplied twice, as DOUBLE needs it.
    """
    p.label("vector")
    p.load("descriptor")
    read_fields(p, isa.VECTOR_FIELDS, FIELDS, rename={
        "zero_point_out": "zero point", "left_shift": "left shift"})
    p.op("add", 0, read=True)
    p.op("load", memory(8), to="flags")
    p.nop()
    read_rule(p)
    offset, width, _ = isa.field_positions(isa.VECTOR_FIELDS)["op"]
    p.load("flags")
    p.op("and", ((1 << width) - 1) << offset, acc=True)
    p.keep("op")
    p.copy("shift", "shift last")
    for name in "ab":
        p.copy(f"shift_{name}", "shift")
        p.copy(f"multiplier_{name}", "factor")
        p.load_label(f"prepared {name}", to="return")
        p.branch("prepare scale")
        p.label(f"prepared {name}")
        for register in SCALE:
            p.copy(register, f"{name} {register}")
    p.copy("shift last", "shift")
    p.copy("multiplier", "factor")
    p.load(0, to="left shift")
    p.load_label("prepared last", to="return")
    p.branch("prepare scale")
    p.label("prepared last")

    p.copy("in_base", "in y")
    p.copy("out_base", "out y")
    p.copy("y_count", "left y")
    p.label("vector y")
    p.copy("in y", "in x")
    p.copy("out y", "out x")
    p.copy("x_count", "left x")
    p.label("vector x")
    p.copy("in x", "in channel")
    p.copy("out x", "out channel")
    p.copy("channels", "left channel")

    p.label("channel")
    p.load("op")
    p.op("subtract", isa.VectorOp.ADD << offset, acc=True)
    p.branch("addition", "zero")
    _reduce(p, offset)
    _addition(p)

    p.label("last scale")
    p.op("add", "bias", do=Strobe.VALUE)
    scale(p)
    second_pass(p)
    p.op("round", Source.PRODUCT, acc=True, wait=Wait.MULTIPLY)
    p.label("write byte")
    clamp(p)
    p.op("load", "out channel", do=Strobe.STORE_BYTE)
    p.op("increment", "out channel", to="out channel")
    p.op("increment", "in channel", to="in channel")
    p.repeat("channel", "left channel")
    p.label("pixel end")
    p.step("in x", "in_x_step")
    p.step("out x", "out_x_step")
    p.repeat("vector x", "left x")
    p.label("row end")
    p.step("in y", "in_y_step")
    p.step("out y", "out_y_step")
    p.repeat("vector y", "left y")
    p.label("vector end")
    p.branch("vector done")


def _reduce(p, offset):
    """Append the reduction of a window by both SUM and MAX, and scaling of TRUNCATE."""
    p.label("reduce")
    p.load(0, to="total")
    p.op("negate", 128, acc=True)
    p.keep("maximum")
    p.copy("in channel", "in wy")
    p.copy("window_y_count", "left wy")
    p.label("wy")
    p.copy("window_x_count", "left wx")
    p.copy("in wy", "in wx")
    p.label("wx")
    p.op("add", 0, read=True)
    p.load("total")
    p.op("add", memory(-8), to="total")
    p.load("maximum")
    p.op("subtract", memory(-8), flag=Flag.SIGN)
    p.op("load", memory(-8), to="maximum", when=When.SET)
    p.step("in wx", "window_x_step")
    p.repeat("wx", "left wx", fill=False)
    p.load("in wx")
    p.label("wx end")
    p.step("in wy", "window_y_step")
    p.repeat("wy", "left wy")
    p.label("reduced")
    p.load("op")
    p.op("subtract", isa.VectorOp.MAX << offset, acc=True)
    p.branch("last scale", "zero", fill=False)
    p.load("maximum")
    p.load("rule")
    p.op("subtract", isa.Rule.TRUNCATE << RULE_SHIFT, acc=True)
    p.branch("last scale", "not zero", fill=False)
    p.load("total")

    # The magnitude is scaled, and takes the sign again; the flag keeps it meanwhile.
    p.label("truncate")
    p.load("total", flag=Flag.SIGN)
    p.op("negate", "total", acc=True, when=When.SET)
    p.op("add", "bias", do=Strobe.VALUE)
    scale(p)
    p.op("load", Source.PRODUCT, to="total", acc=True, wait=Wait.MULTIPLY)
    p.label("truncated")
    p.branch("write byte", fill=False)
    p.op("negate", "total", acc=True, when=When.SET)


def _addition(p):
    p.label("addition")
    p.load("in channel")
    p.op("add", "window_y_step", read=True, acc=True)
    p.load(memory(-8))
    p.op("subtract", "zero_point_b", do=Strobe.VALUE)
    scale(p, "b ")
    second_pass(p, "b ")
    p.op("round", Source.PRODUCT, to="b scaled", wait=Wait.MULTIPLY)
    p.op("load", "in channel", read=True)
    p.load(memory(-8))
    p.op("subtract", "zero_point_a", do=Strobe.VALUE)
    scale(p, "a ")
    second_pass(p, "a ")
    p.op("round", Source.PRODUCT, acc=True, wait=Wait.MULTIPLY)
    p.branch("last scale", fill=False)
    p.op("add", "b scaled", acc=True)

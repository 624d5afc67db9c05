"""Requantization in microcode: what rules, shifts and factors mean for the serial multiplier."""

from . import isa
from .micro_word import Flag, Source, Strobe, Wait, When


__all__ = ["RULE_SHIFT", "SCALE", "clamp", "prepare_scale", "read_rule", "scale",
           "second_pass"]

#: Twice the digits of a whole factor.
WHOLE = 32

#: All kinds of descriptors have the rule in the same place.
RULE_SHIFT, RULE_WIDTH, _ = isa.field_positions(isa.VECTOR_FIELDS)["rule"]
assert (RULE_SHIFT, RULE_WIDTH) == isa.field_positions(isa.SYSTOLIC_FIELDS)["rule"][:2]
RULE_MASK = ((1 << RULE_WIDTH) - 1) << RULE_SHIFT


def prepare_scale(p):
    """Append the subroutine "prepare scale": from shift and factor to what :func:`scale` needs.

    With ``e = max(-shift, 0)``, SINGLE and TRUNCATE multiply with a digit more for every two of
    ``e``, and with twice the factor if it is odd. DOUBLE multiplies with the whole digits, and
    again with a power of two: a shift by ``e`` that rounds. A second pass for the other rules
    leaves the product as it is.

    Takes always as long. Reads the registers ``shift``, ``factor``, ``left shift`` (to be added to
    what is positive of the shift), ``is double`` and ``return``; writes ``left``, ``first factor``
    and ``digits``, and for the second pass ``factor again``, ``digits again`` and ``less``;
    from ``low``, ``high`` and ``zero point`` what :func:`clamp` needs.
    """
    p.label("prepare scale")
    p.load("shift", flag=Flag.SIGN)
    p.load(0, when=When.SET)
    p.op("add", "left shift", acc=True)
    p.keep("left")
    p.op("negate", "shift", acc=True)
    p.load(0, when=When.CLEAR)
    p.keep("e")
    p.load("is double")
    p.op("subtract", 1, flag=Flag.SIGN)
    p.load("e")
    p.load(0, when=When.SET)
    p.keep("e again")

    p.load("e")
    p.load(0, when=When.CLEAR)
    p.op("add", WHOLE + 1, to="digits")
    p.op("and", 1, acc=True)
    p.op("subtract", 1, flag=Flag.SIGN)
    p.load("factor")
    p.op("add", "factor", acc=True, when=When.CLEAR)
    p.keep("first factor")

    p.load("e again")
    p.op("add", 2, to="digits again")
    p.op("and", 1, acc=True)
    p.keep("odd")
    p.load(2)
    p.op("subtract", "odd", acc=True)
    p.keep("factor again")
    # The 1 that rounding half away from zero takes from negative values, if there is a shift.
    p.load("e again")
    p.op("subtract", 1, flag=Flag.SIGN)
    p.load(1)
    p.load(0, when=When.SET)
    p.keep("less")

    # The range before the zero point is added.
    p.load("low")
    p.op("subtract", "zero point", acc=True)
    p.keep("lowest")
    p.load("high")
    p.op("subtract", "zero point", acc=True)
    p.keep("highest")
    p.op("add", 1, to="too high")
    p.load("return")
    p.jump()


def read_rule(p):
    """Append the reading of ``flags``: ``rule`` as in the descriptor, and ``is double``."""
    p.load("flags")
    p.op("and", RULE_MASK, acc=True)
    p.keep("rule")
    p.op("subtract", isa.Rule.DOUBLE << RULE_SHIFT, acc=True)
    # Read in more than one place.
    label = f"rule read {len(p.instructions)}"
    p.branch(label, "zero", fill=False)
    p.load(1, to="is double")
    p.load(0, to="is double")
    p.label(label)


#: Registers that "prepare scale" writes.
SCALE = ("left", "first factor", "digits", "factor again", "digits again", "less")


def scale(p, prefix=""):
    """Append the first pass: multiply the value that was just loaded; ends without waiting.

    ``prefix`` stands before the names of the registers, if they were copied.
    """
    p.op("load", f"{prefix}left", do=Strobe.SHIFT)
    p.op("load", f"{prefix}first factor", do=Strobe.FACTOR, wait=Wait.MULTIPLY)
    p.op("load", f"{prefix}digits", do=Strobe.MULTIPLY)


def second_pass(p, prefix=""):
    """Append the second pass of DOUBLE, from the product of the first; ends without waiting."""
    p.op("round", Source.PRODUCT, acc=True, flag=Flag.SIGN, wait=Wait.MULTIPLY)
    p.op("subtract", f"{prefix}less", acc=True, when=When.SET)
    p.op("add", 0, do=Strobe.VALUE)
    p.op("load", f"{prefix}factor again", do=Strobe.FACTOR)
    p.op("load", f"{prefix}digits again", do=Strobe.MULTIPLY)


def clamp(p, *, do=Strobe.NONE):
    """Append clamping of the accumulator and the addition of the zero point; that does ``do``."""
    p.op("subtract", "lowest", flag=Flag.SIGN)
    p.load("lowest", when=When.SET)
    p.op("subtract", "too high", flag=Flag.SIGN)
    p.load("highest", when=When.CLEAR)
    p.op("add", "zero point", acc=True, do=do)

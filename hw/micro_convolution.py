"""The microprogram of SYSTOLIC descriptors."""

from . import isa
from .micro_assembler import memory
from .micro_scale import clamp, read_rule, scale, second_pass
from .micro_word import Flag, Source, Strobe, Wait, When


__all__ = ["convolution", "read_fields"]

#: Fields that are read into registers of their names.
FIELDS = (
    "zero_point_out", "in_base", "q_step", "p_step", "p_rows", "x_stride", "s_count",
    "y_stride", "r_count", "x_origin", "y_origin", "columns", "y_limit", "c_count", "c_step",
    "tile_step", "q_tile_step", "columns_last", "p_tile_step", "q_count", "q_last", "p_count",
    "p_last", "q_tiles", "p_tiles", "p_tile_rows", "block_count", "tile_count", "filter_base",
    "parameter_base", "out_base", "low", "high", "out_q_step", "out_p_step", "out_q_tile_step",
    "out_p_tile_step", "out_block_step", "out_tile_step",
)


def read_fields(p, layout, names, *, rename=None):
    """Append the copying of a descriptor's fields into registers; the descriptor is not kept.

    Parameters
    ----------
    p : :class:`~oarlock.hw.micro_assembler.Microprogram`
        The microprogram.
    layout : iterable of :data:`isa.Field`
        Of the descriptor.
    names : iterable of :class:`str`
        Fields of whole bytes.
    rename : dict of :class:`str` to :class:`str`, optional
        Registers of other names.
    """
    positions = isa.field_positions(layout)
    for name in names:
        offset, width, signed = positions[name]
        assert offset % 8 == 0 and width % 8 == 0
        p.op("add", offset // 8, read=True)
        p.op("load", memory(-width if signed else width), to=(rename or {}).get(name, name))


def convolution(p, where):
    """Append the microprogram; it goes to "convolution done".

    The loops are those of ``docs/hardware.md``. Registers are named by loops: ``address x`` is the
    address at which the present iteration of x begins, ``left x`` how many iterations remain.

    Parameters
    ----------
    p : :class:`~oarlock.hw.micro_assembler.Microprogram`
        The microprogram.
    where : :class:`~oarlock.hw.micro_commands.MemoryMap`
        Where memories lie.
    """
    p.label("convolution")
    _read_descriptor(p, where)
    p.copy("in_base", "address tile")
    p.copy("parameter_base", "parameter tile")
    p.copy("out_base", "output tile")
    p.copy("tile_count", "left tile")

    p.label("tile")
    p.copy("parameter tile", "parameter block")
    p.copy("output tile", "output block")
    p.copy("block_count", "left block")
    p.label("block")
    _count_columns(p)
    p.copy("address tile", "address p_tile")
    p.copy("y_origin", "row p_tile")
    p.copy("output block", "output p_tile")
    p.copy("p_tiles", "left p_tile")
    p.label("p_tile")
    _choose(p, "p", "p_tile")
    p.copy("address p_tile", "address q_tile")
    p.copy("x_origin", "column q_tile")
    p.copy("output p_tile", "output q_tile")
    p.copy("q_tiles", "left q_tile")
    p.label("q_tile")
    _choose(p, "q", "q_tile")
    p.op("load", "q_step", do=Strobe.STEP)
    p.copy("entry block", "entry")
    p.copy("address q_tile", "address c")
    p.copy("column q_tile", "column c")
    p.copy("c_count", "left c")
    p.label("c")
    p.copy("address c", "address y")
    p.copy("row p_tile", "row y")
    p.copy("r_count", "left y")
    p.label("y")
    p.copy("address y", "address x")
    p.copy("column c", "column x")
    p.copy("s_count", "left x")
    _waves(p, where)
    p.label("y end")
    p.step("address y", "y_stride")
    p.op("increment", "row y", to="row y")
    p.repeat("y", "left y")
    p.label("c end")
    p.step("address c", "c_step")
    p.step("column c", "column step c")
    p.repeat("c", "left c")

    p.label("window end")
    p.load("hold")
    p.branch("drained", "not zero")
    _drain(p)
    p.label("drained")
    p.step("address q_tile", "q_tile_step")
    p.step("column q_tile", "q_tile_step")
    p.step("output q_tile", "out_q_tile_step")
    p.repeat("q_tile", "left q_tile")
    p.label("p_tile end")
    p.step("address p_tile", "p_tile_step")
    p.step("row p_tile", "p_tile_rows")
    p.step("output p_tile", "out_p_tile_step")
    p.repeat("p_tile", "left p_tile")
    p.label("block end")
    p.copy("entry", "entry block")
    p.step("parameter block", "parameter block step")
    p.step("output block", "out_block_step")
    p.repeat("block", "left block")
    p.label("tile end")
    p.step("address tile", "tile_step")
    p.step("parameter tile", "parameter tile step")
    p.step("output tile", "out_tile_step")
    p.repeat("tile", "left tile")
    p.label("convolution end")
    p.branch("convolution done")


def _read_descriptor(p, where):
    p.load("descriptor")
    read_fields(p, isa.SYSTOLIC_FIELDS, FIELDS, rename={"zero_point_out": "zero point"})
    positions = isa.field_positions(isa.SYSTOLIC_FIELDS)
    for name, strobe in (("zero_point_in", Strobe.ZERO_POINT), ("x_limit", Strobe.LIMIT)):
        offset, width, _ = positions[name]
        p.op("add", offset // 8, read=True)
        p.op("load", memory(width), do=strobe)
    p.op("add", 0, read=True)
    p.op("load", memory(16), to="flags")
    p.nop()
    read_rule(p)
    for name in ("fold", "hold", "part_each"):
        p.load("flags")
        p.op("and", 1 << positions[name][0], acc=True)
        p.keep(name)

    # What depends on a flag is done, and then undone if it is not set.
    p.load("c_step")
    p.keep("column step c")
    p.load("fold")
    p.branch("fold read", "not zero", fill=False)
    p.op("load", 1, do=Strobe.FOLD)
    p.op("load", 0, do=Strobe.FOLD)
    p.load(0, to="column step c")
    p.label("fold read")

    p.load("in_base")
    p.op("add", "x_origin", acc=True)
    p.keep("in_base")
    # Entries are words, parameters three; out_block_step stays the channels that it is.
    _multiply(p, "filter_base", 4)
    p.load_number(where.filter)
    p.op("add", "filter_base", acc=True)
    p.keep("entry block")
    p.copy("out_block_step", "parameter block step")
    p.copy("out_tile_step", "parameter tile step")
    for name in ("parameter_base", "parameter block step", "parameter tile step"):
        _multiply(p, name, 12)
    p.load_number(where.parameters)
    p.op("add", "parameter_base", acc=True)
    p.keep("parameter_base")


def _multiply(p, name, factor):
    """Append the multiplication of a register by 4 or 12."""
    p.nop()
    p.load(name)
    if factor == 12:
        p.op("add", name, acc=True)
        p.op("add", name, acc=True)
        p.keep(name)
        p.nop()
    p.op("add", name, to=name, acc=True)
    p.nop()
    p.op("add", name, to=name, acc=True)


def _count_columns(p):
    """Append how many columns have filters: fewer in the last block of the last tile."""
    p.copy("columns", "used")
    p.op("decrement", "left block", acc=True)
    p.branch("columns known", "not zero")
    p.load("part_each")
    p.branch("part", "not zero")
    p.op("decrement", "left tile", acc=True)
    p.branch("columns known", "not zero")
    p.label("part")
    p.copy("columns_last", "used")
    p.label("columns known")


def _choose(p, axis, tile):
    """Append the choice between the count of a tile and that of the last."""
    p.copy(f"{axis}_count", f"{axis} count")
    p.op("decrement", f"left {tile}", acc=True)
    p.branch(f"{axis} count known", "not zero")
    p.copy(f"{axis}_last", f"{axis} count")
    p.label(f"{axis} count known")


def _waves(p, where):
    """Append the loop over x: each iteration a wave, that is four columns' weights, then rows."""
    p.label("x")
    p.load("entry")
    p.label("weights")
    p.op("add", 0, read=True, wait=Wait.STREAM)
    for column in range(4):
        p.op("add", min(column + 1, 3) * where.filter_bytes, read=True, do=Strobe.WEIGHTS,
             column=column)
    p.op("advance", "entry", to="entry")
    p.op("load", 0, do=Strobe.POSITION)
    p.copy("address x", "address p")
    p.copy("p count", "left p")
    p.copy("row y", "row p")

    # Rows. While one is sent, what the next one needs is computed.
    p.label("p")
    p.op("subtract", "y_limit", do=Strobe.IN_ROWS, wait=Wait.STREAM)
    p.op("load", "address p", do=Strobe.ADDRESS)
    p.op("load", "column x", do=Strobe.COLUMN)
    p.op("load", "q count", do=Strobe.STREAM)
    p.label("row sent")
    p.step("address p", "p_step")
    p.step("row p", "p_rows")
    p.repeat("p", "left p", fill=False)
    p.load("row p")
    p.label("rows sent")

    p.step("address x", "x_stride")
    p.step("column x", "x_stride")
    p.repeat("x", "left x")


def _drain(p):
    """Append the requantization of a position tile, column by column."""
    p.label("drain")
    p.copy("output q_tile", "output column")
    p.copy("parameter block", "parameter")
    p.copy("used", "left column")
    p.load(0, to="column")

    p.label("column")
    p.load("parameter")
    p.label("parameters")
    p.op("add", 0, read=True, wait=Wait.STREAM)
    p.op("load", "out_q_step", do=Strobe.STEP)
    p.op("load", memory(32), to="bias")
    p.op("add", 4, read=True)
    p.op("load", memory(32), to="factor")
    p.op("add", 8, read=True)
    p.op("add", 12, to="parameter")
    # Six bits, signed.
    p.load(memory(8))
    p.op("subtract", 32, flag=Flag.SIGN)
    p.op("subtract", 64, acc=True, when=When.CLEAR)
    p.keep("shift")
    p.load(0, to="left shift")
    p.load_label("prepared", to="return")
    p.branch("prepare scale")
    p.label("prepared")

    # The last column's drain leaves zeros.
    p.load("left column")
    p.op("subtract", 2, flag=Flag.SIGN)
    p.load("column")
    p.op("add", 4, acc=True, when=When.SET)
    p.op("add", 0, do=Strobe.SELECT)
    p.op("increment", "column", to="column")
    p.op("load", 0, do=Strobe.POSITION)
    p.copy("output column", "output p")
    p.op("add", 0, do=Strobe.ADDRESS)
    p.copy("q count", "left q")
    p.copy("p count", "left p")
    p.load("is double")
    p.branch("first double", "not zero")
    for name in ("single", "double"):
        _values(p, name)
    p.label("column end")
    p.op("increment", "output column", to="output column")
    p.repeat("column", "left column")


def _values(p, rule):
    """Append the loop over positions: a value is multiplied while that before is written."""
    def product():
        if rule == "double":
            second_pass(p)
        p.op("round", Source.PRODUCT, to="product", wait=Wait.MULTIPLY)

    p.label(f"first {rule}")
    p.load(Source.SUM)
    p.op("add", "bias", do=Strobe.VALUE)
    scale(p)
    p.op("load", 0, do=Strobe.CLEAR_SUMS)
    p.op("load", 0, do=Strobe.NEXT_POSITION)
    p.label(f"row {rule}")
    product()

    p.label(f"value {rule}")
    p.load(Source.SUM)
    if rule == "single":
        p.op("add", "bias", do=Strobe.SCALE)
    else:
        p.op("add", "bias", do=Strobe.VALUE)
        scale(p)
    p.label(f"scaled {rule}")
    p.load("product", do=Strobe.CLEAR_SUMS)
    clamp(p, do=Strobe.NEXT_POSITION)
    p.op("load", 0, do=Strobe.STORE_NEXT)
    p.op("decrement", "left q", to="left q", acc=True)
    if rule == "single":
        # One more product at the end of a row: it is read again.
        p.branch(f"value {rule}", "not zero", fill=False)
        product()
    else:
        p.branch(f"row {rule}", "not zero")
    p.label(f"row end {rule}")
    p.step("output p", "out_p_step", do=Strobe.ADDRESS)
    p.copy("q count", "left q")
    p.repeat(f"row {rule}", "left p")
    p.label(f"values end {rule}")
    if rule == "single":
        p.branch("column end")

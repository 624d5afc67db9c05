"""Modules that a family's own cells make smaller or faster than synthesis does."""

from __future__ import annotations

from ..hw import isa


__all__ = ["ECP5_CELLS"]


def _carry_pair(n: int) -> str:
    """Return two bits of a chain of CCU2C: ``a + (b | c)``.

    A cell's LUT4 says whether to propagate the carry, ``a ^ (b | c)``; with D at 1 that is the
    upper half of its table. The lowest quarter is a LUT2 of A and B that says what to generate
    otherwise: ``a``, which then is the same as the other operand.
    Ref: the simulation model of CCU2C in Yosys, ecp5/ccu2c_sim.vh.
    """
    table = 0x56AA
    ports = ", ".join(
        f".A{bit}(passing[{n + bit}]), .B{bit}(bank_0[{n + bit}]), .C{bit}(bank_1[{n + bit}]), "
        f".D{bit}(1'b1), .S{bit}(o[{n + bit}])" for bit in range(2))
    carry_in = f"carry[{n // 2 - 1}]" if n else "1'b0"
    return (f'  CCU2C #(.INIT0(16\'h{table:04X}), .INIT1(16\'h{table:04X}), .INJECT1_0("NO"), '
            f'.INJECT1_1("NO"))\n    bits_{n} (.CIN({carry_in}), {ports}, .COUT(carry[{n // 2}]));')


def _chain_adder(width: int) -> str:
    assert width % 2 == 0
    chain = "\n".join(_carry_pair(n) for n in range(0, width, 2))
    top = width - 1
    return f"""
module chain_adder(input clk, input [{top}:0] passing, bank_0, bank_1, output [{top}:0] o);
  wire [{width // 2 - 1}:0] carry;
{chain}
endmodule
"""


def _pipelined_multiplier() -> str:
    """Return a MULT18X18D with registers at operands and product.

    Narrow operands stand in the upper bits, with zeros below, so that no sign is to be extended.
    """
    def bits(port: str, signal: str, width: int) -> str:
        low = 18 - width
        return ", ".join(f".{port}{n}({signal}[{n - low}])" if n >= low else f".{port}{n}(1'b0)"
                         for n in range(18))

    registers = ", ".join(f'.REG_{name}_CLK("CLK0")' for name in ("INPUTA", "INPUTB", "OUTPUT"))
    product = ", ".join(f".P{n + 19}(o[{n}])" for n in range(17))
    return f"""
module pipelined_multiplier(input clk, input [8:0] activation, input [7:0] weight,
                            output [16:0] o);
  MULT18X18D #({registers})
    block (.CLK0(clk), .CE0(1'b1), .RST0(1'b0),
           .SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0),
           {bits("A", "activation", 9)},
           {bits("B", "weight", 8)},
           {product});
endmodule
"""


#: Verilog by the name of the module that it replaces; clock and ports as Amaranth emits them.
ECP5_CELLS = {
    "chain_adder": _chain_adder(isa.SUM_WIDTH), "pipelined_multiplier": _pipelined_multiplier()}

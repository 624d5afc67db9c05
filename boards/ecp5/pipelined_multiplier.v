// hw/pipelined_multiplier.py in one MULT18X18D with registers at operands and product.
//
// Narrow operands stand in the upper bits, with zeros below, so that no sign is to be extended.

module pipelined_multiplier (
    input clk,
    input [8:0] activation,
    input [7:0] weight,
    output [16:0] o
);
  MULT18X18D #(
      .REG_INPUTA_CLK("CLK0"),
      .REG_INPUTB_CLK("CLK0"),
      .REG_OUTPUT_CLK("CLK0")
  ) block (
      .CLK0(clk),
      .CE0(1'b1),
      .RST0(1'b0),
      .SIGNEDA(1'b1),
      .SIGNEDB(1'b1),
      .SOURCEA(1'b0),
      .SOURCEB(1'b0),
      .A0(1'b0), .A1(1'b0), .A2(1'b0), .A3(1'b0), .A4(1'b0), .A5(1'b0), .A6(1'b0), .A7(1'b0),
      .A8(1'b0), .A9(activation[0]), .A10(activation[1]), .A11(activation[2]),
      .A12(activation[3]), .A13(activation[4]), .A14(activation[5]), .A15(activation[6]),
      .A16(activation[7]), .A17(activation[8]), .B0(1'b0), .B1(1'b0), .B2(1'b0), .B3(1'b0),
      .B4(1'b0), .B5(1'b0), .B6(1'b0), .B7(1'b0), .B8(1'b0), .B9(1'b0), .B10(weight[0]),
      .B11(weight[1]), .B12(weight[2]), .B13(weight[3]), .B14(weight[4]), .B15(weight[5]),
      .B16(weight[6]), .B17(weight[7]), .P19(o[0]), .P20(o[1]), .P21(o[2]), .P22(o[3]),
      .P23(o[4]), .P24(o[5]), .P25(o[6]), .P26(o[7]), .P27(o[8]), .P28(o[9]), .P29(o[10]),
      .P30(o[11]), .P31(o[12]), .P32(o[13]), .P33(o[14]), .P34(o[15]), .P35(o[16])
  );
endmodule

// hw/dual_multiplier.py in one SB_MAC16: both 8x8 multipliers, their adders, A and B registered.

module dual_multiplier (
    input clk,
    input [15:0] a,
    input [15:0] b,
    input b_enable,
    input [15:0] low_addend,
    input [15:0] high_addend,
    output [15:0] low,
    output [15:0] high
);
  SB_MAC16 #(
      .A_REG(1'b1),
      .B_REG(1'b1),
      .MODE_8x8(1'b1),
      .A_SIGNED(1'b1),
      .B_SIGNED(1'b1),
      // Outputs come straight from the adders, of a product and of C or D.
      .TOPOUTPUT_SELECT(2'b00),
      .TOPADDSUB_LOWERINPUT(2'b01),
      .TOPADDSUB_UPPERINPUT(1'b1),
      .TOPADDSUB_CARRYSELECT(2'b00),
      .BOTOUTPUT_SELECT(2'b00),
      .BOTADDSUB_LOWERINPUT(2'b01),
      .BOTADDSUB_UPPERINPUT(1'b1),
      .BOTADDSUB_CARRYSELECT(2'b00)
  ) mac (
      .CLK(clk),
      .CE(1'b1),
      .A(a),
      .B(b),
      .C(high_addend),
      .D(low_addend),
      .AHOLD(1'b0),
      .BHOLD(~b_enable),
      .CHOLD(1'b0),
      .DHOLD(1'b0),
      .IRSTTOP(1'b0),
      .IRSTBOT(1'b0),
      .ORSTTOP(1'b0),
      .ORSTBOT(1'b0),
      .OLOADTOP(1'b0),
      .OLOADBOT(1'b0),
      .ADDSUBTOP(1'b0),
      .ADDSUBBOT(1'b0),
      .OHOLDTOP(1'b0),
      .OHOLDBOT(1'b0),
      .CI(1'b0),
      .ACCUMCI(1'b0),
      .SIGNEXTIN(1'b0),
      .O({high, low})
  );
endmodule

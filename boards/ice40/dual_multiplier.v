// hw/dual_multiplier.py in one SB_MAC16: both 8x8 multipliers, A and B registered.

module dual_multiplier (
    input clk,
    input [15:0] a,
    input [15:0] b,
    input b_enable,
    output [15:0] low,
    output [15:0] high
);
  SB_MAC16 #(
      .A_REG(1'b1),
      .B_REG(1'b1),
      .MODE_8x8(1'b1),
      .A_SIGNED(1'b1),
      .B_SIGNED(1'b1),
      // Outputs come straight from the multipliers.
      .TOPOUTPUT_SELECT(2'b10),
      .BOTOUTPUT_SELECT(2'b10)
  ) mac (
      .CLK(clk),
      .CE(1'b1),
      .A(a),
      .B(b),
      .C(16'b0),
      .D(16'b0),
      .AHOLD(1'b0),
      .BHOLD(~b_enable),
      .CHOLD(1'b1),
      .DHOLD(1'b1),
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

// MULT18X18D as Yosys and boards/ecp5 instantiate it: signedness from pins; operands and product
// registered or not, by CLK0 with CE0 and RST0. Yosys has models of all other cells of ECP5 that the
// netlists contain, but of this one only the ports.
`define BITS_18(x) {x``17, x``16, x``15, x``14, x``13, x``12, x``11, x``10, x``9, x``8, x``7, x``6, \
                    x``5, x``4, x``3, x``2, x``1, x``0}
module MULT18X18D(
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0,
  input RST3, RST2, RST1, RST0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_PIPELINE_CE = "CE0";
  parameter REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter [127:0] CLK0_DIV = "ENABLED";
  parameter [127:0] CLK1_DIV = "ENABLED";
  parameter [127:0] CLK2_DIV = "ENABLED";
  parameter [127:0] CLK3_DIV = "ENABLED";
  parameter [127:0] GSR = "ENABLED";
  parameter [127:0] SOURCEB_MODE = "B_SHIFT";
  parameter [127:0] RESETMODE = "SYNC";
  wire signed [36:0] a = $signed({SIGNEDA & A17, `BITS_18(A)});
  wire signed [36:0] b = $signed({SIGNEDB & B17, `BITS_18(B)});
  reg signed [36:0] a_q, b_q, p_q;
  wire signed [36:0] p = (REG_INPUTA_CLK == "NONE" ? a : a_q) * (REG_INPUTB_CLK == "NONE" ? b : b_q);
  always @(posedge CLK0)
    if (RST0) {a_q, b_q, p_q} <= 0;
    else if (CE0) {a_q, b_q, p_q} <= {a, b, p};
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
    REG_OUTPUT_CLK == "NONE" ? p[35:0] : p_q[35:0];
  initial if ((REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0")
              || (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0")
              || (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0")
              || REG_PIPELINE_CLK != "NONE")
    begin $display("FAIL: these registers of MULT18X18D are not in this model"); $finish; end
endmodule

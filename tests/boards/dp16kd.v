// What Yosys instantiates of DP16KD: no output registers, no chip selects, no resets, and contents
// that need no beginning. Of this cell, as of MULT18X18D, Yosys has only the ports.
//
// 2048 bytes of nine bits. A port of width 36, 18 or 9 sees 4, 2 or 1 of them; the address counts
// bits of an eight-bit byte, so bit 3 is the lowest of a byte's number. Ports of 36 and 18 bits take
// byte enables from the lowest address bits. A port of 36 bits is both halves: A writes, B reads.
// Ref: ECP5 Memory User's Guide, FPGA-TN-02204.
`define PINS_18(x) x``17, x``16, x``15, x``14, x``13, x``12, x``11, x``10, x``9, x``8, x``7, x``6, \
                   x``5, x``4, x``3, x``2, x``1, x``0
`define PINS_14(x) x``13, x``12, x``11, x``10, x``9, x``8, x``7, x``6, x``5, x``4, x``3, x``2, x``1, \
                   x``0
`define ROW(x) x``0 = 0, x``1 = 0, x``2 = 0, x``3 = 0, x``4 = 0, x``5 = 0, x``6 = 0, x``7 = 0, \
               x``8 = 0, x``9 = 0, x``A = 0, x``B = 0, x``C = 0, x``D = 0, x``E = 0, x``F = 0
`define ANY(x) |x``0 | |x``1 | |x``2 | |x``3 | |x``4 | |x``5 | |x``6 | |x``7 | \
               |x``8 | |x``9 | |x``A | |x``B | |x``C | |x``D | |x``E | |x``F
module DP16KD(
  input `PINS_18(DIA), `PINS_14(ADA), CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  input `PINS_18(DIB), `PINS_14(ADB), CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output `PINS_18(DOA), `PINS_18(DOB));
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter [127:0] WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED";
  parameter [127:0] RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter INIT_DATA = "STATIC";
  parameter [319:0] `ROW(INITVAL_0), `ROW(INITVAL_1), `ROW(INITVAL_2), `ROW(INITVAL_3);

  reg [8:0] bytes [0:2047];
  reg [17:0] qa, qb;
  wire [17:0] da = {`PINS_18(DIA)}, db = {`PINS_18(DIB)};
  wire [13:0] aa = {`PINS_14(ADA)}, ab = {`PINS_14(ADB)};
  assign {`PINS_18(DOA)} = qa;
  assign {`PINS_18(DOB)} = qb;

  localparam WIDE_A = DATA_WIDTH_A == 36, WIDE_B = DATA_WIDTH_B == 36;
  localparam COUNT_A = DATA_WIDTH_A / 9, COUNT_B = DATA_WIDTH_B / 9;
  wire [10:0] first_a = WIDE_A ? {aa[13:5], 2'b0} : COUNT_A == 2 ? {aa[13:4], 1'b0} : aa[13:3];
  wire [10:0] first_b = WIDE_B ? {ab[13:5], 2'b0} : COUNT_B == 2 ? {ab[13:4], 1'b0} : ab[13:3];
  wire [3:0] enable_a = COUNT_A == 1 ? 4'b1 : aa[3:0], enable_b = COUNT_B == 1 ? 4'b1 : ab[3:0];
  wire [35:0] wide_a = {db, da};

  // Where one port reads what the other writes, the guide promises nothing, so X.
  function collides(input [10:0] read, write, input integer n, count);
    collides = read < write + count && write < read + n;
  endfunction

  integer i;
  always @(posedge CLKA) if (CEA) begin
    if (!WIDE_A) for (i = 0; i < COUNT_A; i = i + 1)
      if (!WEA || WRITEMODE_A == "READBEFOREWRITE")
        qa[9*i +: 9] <= CEB && WEB && collides(first_a, first_b, COUNT_A, COUNT_B)
                        ? 9'bx : bytes[first_a + i];
    if (WEA) for (i = 0; i < COUNT_A; i = i + 1)
      if (enable_a[i]) bytes[first_a + i] <= wide_a[9*i +: 9];
  end

  integer j;
  always @(posedge CLKB) if (CEB) begin
    if (WIDE_B)
      {qb, qa} <= CEA && WEA && enable_a != 0 && collides(first_b, first_a, COUNT_B, COUNT_A)
                  ? 36'bx : {bytes[first_b + 3], bytes[first_b + 2], bytes[first_b + 1],
                             bytes[first_b]};
    else for (j = 0; j < COUNT_B; j = j + 1)
      if (!WEB || WRITEMODE_B == "READBEFOREWRITE")
        qb[9*j +: 9] <= CEA && WEA && collides(first_b, first_a, COUNT_B, COUNT_A)
                        ? 9'bx : bytes[first_b + j];
    if (WEB && !WIDE_B) for (j = 0; j < COUNT_B; j = j + 1)
      if (enable_b[j]) bytes[first_b + j] <= db[9*j +: 9];
  end

  initial if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB"
              || WIDE_A != WIDE_B || DATA_WIDTH_A % 9 != 0 || DATA_WIDTH_B % 9 != 0
              || WRITEMODE_A == "WRITETHROUGH" || WRITEMODE_B == "WRITETHROUGH"
              || `ANY(INITVAL_0) | `ANY(INITVAL_1) | `ANY(INITVAL_2) | `ANY(INITVAL_3))
    begin $display("FAIL: this use of DP16KD is not in this model"); $finish; end
  always @(posedge CLKA) if (CSA2 | CSA1 | CSA0 | CSB2 | CSB1 | CSB0 | RSTA | RSTB)
    begin $display("FAIL: selects and resets of DP16KD are not in this model"); $finish; end
endmodule

// hw/chain_adder.py in a chain of CCU2C, two bits a cell.
//
// The LUT4 of a bit says whether to pass the carry on, A ^ (B | C); with D at 1 that is the upper
// half of its table. The lowest quarter is a LUT2 of A and B that says what the carry is otherwise:
// A, which then equals the other operand. Narrower sums leave the upper cells unconnected, and Yosys
// removes them.

module chain_adder (
    input clk,
    input [31:0] passing,
    input [31:0] bank_0,
    input [31:0] bank_1,
    output [31:0] o
);
  wire [16:0] carry;
  assign carry[0] = 1'b0;
  genvar n;
  generate
    for (n = 0; n < 16; n = n + 1) begin : pairs
      CCU2C #(
          .INIT0(16'h56AA),
          .INIT1(16'h56AA),
          .INJECT1_0("NO"),
          .INJECT1_1("NO")
      ) adder (
          .CIN(carry[n]),
          .A0(passing[2*n]), .B0(bank_0[2*n]), .C0(bank_1[2*n]), .D0(1'b1), .S0(o[2*n]),
          .A1(passing[2*n+1]), .B1(bank_0[2*n+1]), .C1(bank_1[2*n+1]), .D1(1'b1), .S1(o[2*n+1]),
          .COUT(carry[n+1])
      );
    end
  endgenerate
endmodule

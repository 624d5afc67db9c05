// hw/single_port_memory.py in two SB_SPRAM256KA, the lower and the upper half of a word.

module single_port_memory (
    input clk,
    input enable,
    input [13:0] address,
    input [3:0] write,
    input [31:0] data_in,
    output [31:0] data_out
);
  genvar half;
  generate
    for (half = 0; half < 2; half = half + 1) begin : halves
      SB_SPRAM256KA memory (
          .CLOCK(clk),
          .CHIPSELECT(enable),
          .ADDRESS(address),
          .WREN(|write),
          // A bit for every four of the data.
          .MASKWREN({{2{write[2*half+1]}}, {2{write[2*half]}}}),
          .DATAIN(data_in[16*half+:16]),
          .DATAOUT(data_out[16*half+:16]),
          .STANDBY(1'b0),
          .SLEEP(1'b0),
          .POWEROFF(1'b1)
      );
    end
  endgenerate
endmodule

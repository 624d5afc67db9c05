// A FIFO of 2**BITS words between two AXI4-Streams of 32 bits with TLAST.
module axis_fifo #(
  parameter BITS = 4
) (
  input             clk,
  input             rst,
  input      [31:0] s_axis_tdata,
  input             s_axis_tvalid,
  output            s_axis_tready,
  input             s_axis_tlast,
  output     [31:0] m_axis_tdata,
  output            m_axis_tvalid,
  input             m_axis_tready,
  output            m_axis_tlast
);
  reg [32:0] memory [0:(1 << BITS)-1];
  reg [BITS:0] written, read;

  assign s_axis_tready = !rst && written - read != {1'b1, {BITS{1'b0}}};
  assign m_axis_tvalid = !rst && written != read;
  assign {m_axis_tlast, m_axis_tdata} = memory[read[BITS-1:0]];

  always @(posedge clk) begin
    if (s_axis_tvalid && s_axis_tready) begin
      memory[written[BITS-1:0]] <= {s_axis_tlast, s_axis_tdata};
      written <= written + 1'b1;
    end
    if (m_axis_tvalid && m_axis_tready) read <= read + 1'b1;
    if (rst) begin
      written <= 0;
      read <= 0;
    end
  end
endmodule

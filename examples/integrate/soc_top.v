// The accelerator in a system of one's own: a FIFO before it, for whole commands to come in bursts,
// and one behind it.
module soc_top (
  input         clk,
  input         rst,
  input  [31:0] s_axis_tdata,
  input         s_axis_tvalid,
  output        s_axis_tready,
  input         s_axis_tlast,
  output [31:0] m_axis_tdata,
  output        m_axis_tvalid,
  input         m_axis_tready,
  output        m_axis_tlast
);
  wire [31:0] command_tdata, answer_tdata;
  wire command_tvalid, command_tready, command_tlast, answer_tvalid, answer_tready, answer_tlast;

  axis_fifo #(.BITS(6)) commands (
    .clk(clk), .rst(rst),
    .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
    .s_axis_tready(s_axis_tready), .s_axis_tlast(s_axis_tlast),
    .m_axis_tdata(command_tdata), .m_axis_tvalid(command_tvalid),
    .m_axis_tready(command_tready), .m_axis_tlast(command_tlast));

  oarlock accelerator (
    .clk(clk), .rst(rst),
    .s_axis_tdata(command_tdata), .s_axis_tvalid(command_tvalid),
    .s_axis_tready(command_tready), .s_axis_tlast(command_tlast),
    .m_axis_tdata(answer_tdata), .m_axis_tvalid(answer_tvalid),
    .m_axis_tready(answer_tready), .m_axis_tlast(answer_tlast));

  axis_fifo #(.BITS(4)) answers (
    .clk(clk), .rst(rst),
    .s_axis_tdata(answer_tdata), .s_axis_tvalid(answer_tvalid),
    .s_axis_tready(answer_tready), .s_axis_tlast(answer_tlast),
    .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready), .m_axis_tlast(m_axis_tlast));
endmodule

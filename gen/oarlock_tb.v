// Sends program.hex to the accelerator and compares its answers with expected.hex: 32 bits that
// matter, then 32 bits of value. Plain Verilog-2005. +stall makes both streams pause at random.
// DUT names another module with the same ports: your own top level around the accelerator.
`timescale 1ns / 1ps

`ifndef DUT
`define DUT oarlock
`endif

module oarlock_tb;
  localparam WORDS = 0;
  localparam ANSWERS = 0;
  localparam WATCHDOG = 0;
  // Cycles after the last answer in which nothing may come.
  localparam QUIET = 100;

  reg [31:0] words [0:WORDS-1];
  reg [63:0] answers [0:ANSWERS-1];
  initial begin
    $readmemh("program.hex", words);
    $readmemh("expected.hex", answers);
  end

  reg clk = 0;
  always #5 clk = !clk;

  reg [31:0] cycles = 0;
  reg [31:0] sent = 0;
  reg [31:0] received = 0;
  reg [31:0] errors = 0;
  reg [31:0] quiet = 0;
  reg [15:0] left = 0;          // words that the present answer still has
  reg [31:0] random = 32'h0a11ce5;
  reg rst = 1;
  reg offer = 0;
  reg accept = 0;
  reg stall = 0;
  initial stall = $test$plusargs("stall") != 0;

  wire [31:0] s_axis_tdata = sent < WORDS ? words[sent] : 32'd0;
  wire s_axis_tvalid = offer && sent < WORDS;
  wire s_axis_tready, m_axis_tvalid, m_axis_tlast;
  wire [31:0] m_axis_tdata;
  wire [63:0] answer = received < ANSWERS ? answers[received] : 64'd0;
  wire last = left == 1 || (left == 0 && m_axis_tdata[15:0] == 0);

  `DUT dut (
    .clk(clk), .rst(rst),
    .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
    .s_axis_tlast(1'b0),
    .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tready(accept),
    .m_axis_tlast(m_axis_tlast)
  );

  always @(posedge clk) begin
    cycles <= cycles + 1;
    rst <= cycles < 8;
    random <= {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
    // What is offered stays until it is taken.
    offer <= (offer && s_axis_tvalid && s_axis_tready !== 1'b1) || !stall || random[0];
    accept <= !stall || random[7];

    if (cycles >= 16 && (^{s_axis_tready, m_axis_tvalid} === 1'bx)) begin
      $display("FAIL: a handshake is unknown in cycle %0d", cycles);
      $finish;
    end
    if (s_axis_tvalid && s_axis_tready) sent <= sent + 1;
    if (cycles >= 16 && m_axis_tvalid && accept) begin
      received <= received + 1;
      left <= left == 0 ? m_axis_tdata[15:0] : left - 1;
      if (received >= ANSWERS || (m_axis_tdata & answer[63:32]) !== answer[31:0]
          || m_axis_tlast !== last) begin
        errors <= errors + 1;
        if (errors < 10)
          $display("word %0d of %0d: %h, last %b; expected %h under %h, last %b", received, ANSWERS,
                   m_axis_tdata, m_axis_tlast, answer[31:0], answer[63:32], last);
      end
    end

    if (received >= ANSWERS) quiet <= quiet + 1;
    if (quiet == QUIET) begin
      if (errors == 0 && sent == WORDS && received == ANSWERS)
        $display("PASS: %0d words sent, %0d answers as expected, %0d cycles", sent, received,
                 cycles);
      else
        $display("FAIL: %0d words wrong; %0d of %0d sent", errors, sent, WORDS);
      $finish;
    end
    if (cycles == WATCHDOG) begin
      $display("FAIL: watchdog; %0d of %0d words sent, %0d of %0d received", sent, WORDS,
               received, ANSWERS);
      $finish;
    end
  end
endmodule

"""The numpy reference, the Verilator harness and the cocotb benches."""

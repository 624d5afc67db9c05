"""Configuration, network import, mapping, program, Verilog, models and the command line."""

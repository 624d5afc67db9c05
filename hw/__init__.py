"""Gateware: one Amaranth component a file."""

"""Which accelerator a configuration asks for."""

from .accelerator import Accelerator
from .compact_accelerator import CompactAccelerator


__all__ = ["make_accelerator"]


def make_accelerator(config):
    """Return the accelerator of a configuration: both have the same streams and commands."""
    return CompactAccelerator(config) if config.compact else Accelerator(config)

"""What a network can be run on: a simulated accelerator, or a device on a serial port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cache
from .config import ArrayConfig, preset_with_digest
from .errors import OarlockError


if TYPE_CHECKING:
    from ..sw_driver.transport import Transport

__all__ = ["Target", "open_target", "parse_target", "preset_on"]

RULE = "target must be sim or serial:PORT[@BAUD]"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target; ``port`` is None for the simulator, ``baud`` and ``timeout`` are the driver's."""

    port: str | None = None
    baud: int | None = None
    timeout: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the driver is told of a port, beside its name."""
        return {name: value for name, value in (("baud", self.baud), ("timeout", self.timeout))
                if value is not None}


def parse_target(text: str, timeout: float | None = None) -> Target:
    """Return what ``sim`` or ``serial:PORT[@BAUD]`` says.

    Raises
    ------
    OarlockError
        If it says nothing of the kind.
    """
    if timeout is not None and not timeout > 0:
        raise OarlockError(f"timeout must be positive, not {timeout:g}")
    if text == "sim":
        return Target(timeout=timeout)
    kind, _, port = text.partition(":")
    port, _, baud = port.partition("@")
    if kind != "serial" or not port or ("@" in text and not baud.isdecimal()) or baud == "0":
        raise OarlockError(f"{RULE}, not {text!r}")
    return Target(port=port, baud=int(baud) if baud else None, timeout=timeout)


def preset_on(target: Target) -> tuple[str, ArrayConfig]:
    """Ask the device on a port what it is; return the preset that it was built from.

    Raises
    ------
    ConfigError
        If it was built from none.
    DriverError
        If the port can't be had or no device answers.
    """
    from ..sw_driver.ports import probe
    from ..sw_driver.serial_transport import TIMEOUT

    assert target.port is not None
    info = probe(target.port, **{"timeout": TIMEOUT} | target.options)
    return preset_with_digest(info["digest_high"] << 32 | info["digest_low"])


@contextmanager
def open_target(target: Target, config: ArrayConfig, *, waves: Path | None = None,
                progress: cache.Progress = cache.no_progress,
                ) -> Iterator[tuple[Transport, Callable[[Callable[[int], None] | None], None]]]:
    """Yield a transport, not open, and what sets who is told of its progress.

    The progress of the simulator is in cycles of an exchange, that of a port in words since it was
    opened.
    """
    if target.port is not None:
        from ..sw_driver.serial_transport import SerialTransport

        port = SerialTransport(target.port, **target.options)

        def tell_words(call: Callable[[int], None] | None) -> None:
            port.progress = call

        yield port, tell_words
        return

    from ..sim.simulator import Simulator, build
    from ..sim.transport import SimTransport
    from .verilog import verilog_of

    library = build(verilog_of(config, progress=progress), progress=progress,
                    waves="" if waves is None else waves.suffix)
    with Simulator(library, waves=waves) as simulator:
        simulated = SimTransport(simulator)

        def tell_cycles(call: Callable[[int], None] | None) -> None:
            simulated.tick = call

        yield simulated, tell_cycles

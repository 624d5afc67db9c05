"""How each board is talked to, until boards are files of their own that say so."""

from __future__ import annotations

from dataclasses import dataclass


__all__ = ["LINKS", "BoardLink"]


@dataclass(frozen=True, kw_only=True)
class BoardLink:
    """Configuration, clock and UART of a board."""

    preset: str
    clock_hz: int
    baud: int


LINKS: dict[str, BoardLink] = {
    "ulx3s-85f": BoardLink(preset="ulx3s-85f", clock_hz=60_000_000, baud=3_000_000),
}

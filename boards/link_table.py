"""How boards are talked to, until each is a file of its own that says so."""

from __future__ import annotations

from dataclasses import dataclass

from ..gen.errors import OarlockError


__all__ = ["BOARDS", "BoardLink", "board_named"]


@dataclass(frozen=True, kw_only=True)
class BoardLink:
    """Name of board and preset, clock and UART."""

    name: str
    clock_hz: int
    baud: int


BOARDS: dict[str, BoardLink] = {board.name: board for board in (
    BoardLink(name="ulx3s-85f", clock_hz=60_000_000, baud=3_000_000),)}


def board_named(name: str) -> BoardLink:
    """Return a board.

    Raises
    ------
    OarlockError
        If there is none of that name.
    """
    if name not in BOARDS:
        raise OarlockError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]

"""All boards, by the names that users type."""

from __future__ import annotations

from ..gen.errors import OarlockError
from .board import Board
from .icebreaker import ICEBREAKER
from .orangecrab import ORANGECRAB_25F
from .ulx3s import ULX3S_25F, ULX3S_85F


__all__ = ["BOARDS", "board_named"]

BOARDS: dict[str, Board] = {board.name: board for board in (
    ULX3S_85F, ULX3S_25F, ORANGECRAB_25F, ICEBREAKER)}


def board_named(name: str) -> Board:
    """Return a board.

    Raises
    ------
    OarlockError
        If there is none of that name.
    """
    if name not in BOARDS:
        raise OarlockError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]

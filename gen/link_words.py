"""What crosses the link in an inference: words each way, as the device counts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..hw import isa
from .network import Network


if TYPE_CHECKING:
    from ..sw_driver.program import Program

__all__ = ["LinkBox", "link_boxes", "link_words"]

COMMAND_WORDS = len(isa.command(isa.Opcode.INFO))


@dataclass(frozen=True)
class LinkBox:
    """A part of a tensor on its way.

    Members
    -------
    tensor : :class:`str`
        The network's name of it.
    to_device : :class:`bool`
        Whether it is written or read.
    bytes, zeros : :class:`int`
        Its values, and how many equal the zero point.
    commands : :class:`int`
        Of as many pieces it consists.
    raw_words, words : :class:`int`
        Data words as they are, and as they cross.
    """

    tensor: str
    to_device: bool
    bytes: int
    zeros: int
    commands: int
    raw_words: int
    words: int


def link_boxes(program: Program, network: Network, values: Mapping[str, np.ndarray], *,
               run_length: bool) -> list[LinkBox]:
    """Return all parts of tensors that an inference moves, in order.

    Parameters
    ----------
    program : :class:`~oarlock.sw_driver.program.Program`
        What runs.
    network : :class:`~oarlock.gen.network.Network`
        Of which it was compiled.
    values : mapping of :class:`str` to int8 array
        Every tensor of one inference; see :func:`~oarlock.gen.interpret.evaluate`.
    run_length : :class:`bool`
        Whether the device has a codec.
    """
    from ..sw_driver.boxes import box_words, read_pieces
    from ..sw_driver.run_length import encode

    found = []
    for step in program.inference:
        if step["do"] not in ("write_box", "read_box"):
            continue
        name = program.host_aliases.get(step["tensor"], step["tensor"])
        tensor = values[name].reshape(program.host_tensors[step["tensor"]])
        box = np.ascontiguousarray(tensor[tuple(slice(*ends) for ends in step["box"])])
        zero = network.tensors[name].zero_point
        raw, _ = box_words(box, None)
        if step["do"] == "write_box":
            pieces = [len(box_words(box, zero if run_length else None)[0])]
        else:
            pieces = [len(encode(raw[start:start + count], zero)) if as_block else count
                      for start, count, as_block in read_pieces(box.size, coded=run_length)]
        found.append(LinkBox(name, step["do"] == "write_box", box.size,
                             int(np.count_nonzero(box == zero)), len(pieces), len(raw),
                             sum(pieces)))
    return found


def link_words(program: Program, boxes: list[LinkBox]) -> dict[str, int]:
    """Return the counters of words each way, as they are read after an inference.

    They begin behind the ``CLEAR``, and end with the command that reads them.

    Parameters
    ----------
    program : :class:`~oarlock.sw_driver.program.Program`
        What runs.
    boxes : list of :class:`LinkBox`
        What :func:`link_boxes` returned.
    """
    sent, answered = COMMAND_WORDS, 0
    moves = iter(boxes)
    for step in program.inference:
        match step["do"]:
            case "clear":
                sent, answered = COMMAND_WORDS, 0
            case "send":
                sent += step["words"]
                answered += step["commands"]
            case "wait":
                sent += COMMAND_WORDS
                answered += 1 + 2
            case "counters":
                sent += COMMAND_WORDS
                answered += 1 + isa.COUNTER_WORDS
            case "timestamps":
                sent += COMMAND_WORDS * len(step["entries"])
                answered += 2 * len(step["entries"])
            case "write_box" | "read_box":
                box = next(moves)
                sent += COMMAND_WORDS * box.commands + (box.words if box.to_device else 0)
                answered += box.commands + (0 if box.to_device else box.words)
    return {"link_words_in": sent, "link_words_out": answered}

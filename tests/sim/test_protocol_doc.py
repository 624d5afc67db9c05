"""The frames of docs/protocol.md, played to a board: what it says is what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
from oarlock.hw import link_isa
from oarlock.sim.serial_simulator import SerialSimulator, build_serial
from oarlock.sw_driver import link, serial_transport
from serial_board import BAUD, CLOCK, CONFIG


PAGE = (Path(__file__).parents[2] / "docs/protocol.md").read_text()


def example() -> list[tuple[bytes, bytes]]:
    """Return what the host sends, and what the device says before the host sends again."""
    exchanges: list[tuple[bytes, bytes]] = []
    for line in PAGE.splitlines():
        who, _, data = line.strip().partition(" ")
        if line.startswith("    ") and who == "host":
            exchanges.append((bytes.fromhex(data), b""))
        elif line.startswith("    ") and who == "device":
            sent, said = exchanges[-1]
            exchanges[-1] = sent, said + bytes.fromhex(data)
    return exchanges


def play(exchanges: list[tuple[bytes, bytes]]) -> None:
    library = build_serial(CONFIG, clock_hz=CLOCK, baud=BAUD)
    with SerialSimulator(library, cycles_per_bit=CLOCK / BAUD) as board:
        board.run(b"", 500)
        for sent, expected in exchanges:
            said, quiet = b"", 0
            while sent or quiet < 8000:
                taken, received = board.run(sent, 400)
                quiet = 0 if sent or received else quiet + 400
                sent, said = sent[taken:], said + received
            assert said.hex(" ") == expected.hex(" ")


def test_the_example() -> None:
    exchanges = example()
    assert len(exchanges) >= 9
    play(exchanges)


def test_a_wrong_page_is_noticed() -> None:
    exchanges = example()
    sent, expected = exchanges[1]
    exchanges[1] = sent, expected.replace(b"\x52", b"\x53")
    with pytest.raises(AssertionError):
        play(exchanges)


def test_the_numbers_in_the_text() -> None:
    assert [name for name, _ in link_isa.FRAME_FIELDS] == [
        "flags", "version", "number", "count", "errors", "session", "position", "ack", "limit"]
    assert [width for _, width in link_isa.FRAME_FIELDS] == [4, 4, 8, 8, 8, 16, 16, 16, 16]
    assert {flag.name: flag.value for flag in link_isa.Flags} == {"POLL": 1, "REWIND": 2, "OPEN": 4}
    assert (link_isa.LINK_VERSION, link_isa.HEADER_BYTES + link_isa.TRAILER_BYTES) == (1, 16)
    assert (link_isa.FLAG, link_isa.ESCAPE, link_isa.ESCAPE_XOR) == (0x7E, 0x7D, 0x20)
    assert link_isa.CRC_POLYNOMIAL == 0xEDB88320
    assert (link.FRAME_WORDS, link.FIRST_ASK, link.LEAST_ASK, link.MOST_ASK) == (64, .1, .02, .25)
    assert link.STOP_AFTER == 250
    assert (serial_transport.BAUD, serial_transport.TIMEOUT) == (3_000_000, 10)

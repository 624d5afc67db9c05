"""Places of blocks are those that nextpnr knows; every PE has its own, near its neighbours."""

import json
from itertools import pairwise

import pytest
from oarlock.boards.floorplan import LFE5U_25, LFE5U_85, place_elements
from oarlock.boards.tools import find_tool, run_tool


DEVICES = {"25k": LFE5U_25, "85k": LFE5U_85}

#: As many blocks as a device has, each with a wire in and a wire out.
FULL = """
module top(input clk, input [3:0] a, output o);
  wire [{multipliers}-1:0] p;
  wire [{memories}-1:0] q;
  generate
    genvar i;
    for (i = 0; i < {multipliers}; i = i + 1)
      MULT18X18D m(.A0(a[0]), .B0(a[1]), .P0(p[i]));
    for (i = 0; i < {memories}; i = i + 1)
      DP16KD b(.CLKA(clk), .ADA0(a[0]), .DIA0(a[1]), .DOA0(q[i]), .CEA(1'b1), .OCEA(1'b1),
               .WEA(a[2]));
  endgenerate
  assign o = ^{{p, q}};
endmodule
"""


def design(rows, cols, others=0):
    """Return cells as Yosys names those of an array, and multipliers of no PE."""
    cells = {}
    for row in range(rows):
        for column in range(cols):
            pe = f"core.array.row_{row}.pe_{column}"
            cells[f"{pe}.multiplier.block"] = {"type": "MULT18X18D", "attributes": {}}
            cells[f"{pe}.filter.0.0"] = {"type": "DP16KD", "attributes": {}}
            cells[f"{pe}.sum"] = {"type": "LUT4", "attributes": {}}
    for n in range(others):
        cells[f"core.post.lane_{n}"] = {"type": "MULT18X18D", "attributes": {}}
    return cells


def places(cells):
    return {name: cell["attributes"]["BEL"] for name, cell in cells.items()
            if "BEL" in cell["attributes"]}


@pytest.mark.parametrize("device, blocks", [("25k", (28, 56)), ("85k", (156, 208))])
def test_the_device_has_these_places_and_no_more_multipliers(device, blocks, tmp_path):
    (tmp_path / "top.v").write_text(FULL.format(multipliers=blocks[0], memories=blocks[1]))
    run_tool(find_tool("yosys"), ["-q", "-p", "read_verilog top.v; synth_ecp5 -json top.json"],
             folder=tmp_path, log=tmp_path / "yosys.log")
    run_tool(find_tool("nextpnr-ecp5"),
             [f"--{device}", "--package", "CABGA381", "--lpf-allow-unconstrained", "--json",
              "top.json", "--no-route", "--write", "placed.json"],
             folder=tmp_path, log=tmp_path / "nextpnr.log")
    cells = json.loads((tmp_path / "placed.json").read_text())["modules"]["top"]["cells"]
    used = {kind: {cell["attributes"]["NEXTPNR_BEL"] for cell in cells.values()
                   if cell["type"] == kind} for kind in ("MULT18X18D", "DP16KD")}
    assert tuple(map(len, used.values())) == blocks
    die = DEVICES[device]
    assert {site.bel for site in die.multipliers} == used["MULT18X18D"]
    assert {site.bel for site in die.memories} < used["DP16KD"]


@pytest.mark.parametrize("die, rows, cols, others", [
    (LFE5U_85, 12, 12, 12), (LFE5U_85, 8, 8, 16), (LFE5U_85, 16, 9, 4), (LFE5U_25, 3, 4, 5),
    (LFE5U_25, 1, 1, 0)])
def test_every_block_has_a_place_of_its_own(die, rows, cols, others):
    cells = design(rows, cols, others)
    assert place_elements(cells, die) == 2 * rows * cols + others
    found = places(cells)
    assert len(set(found.values())) == len(found) == 2 * rows * cols + others
    for name, bel in found.items():
        sites = die.memories if "filter" in name else die.multipliers
        assert bel in {site.bel for site in sites}
    # Lanes stand in the band that is next to the rest of the design.
    first = {site.bel for site in die.multipliers if site.band == 0}
    assert all(bel in first for name, bel in found.items() if "lane" in name)


def test_neighbours_are_near():
    cells = design(12, 12, 12)
    place_elements(cells, LFE5U_85)
    at = {site.bel: site for site in LFE5U_85.memories}
    grid = [[at[cells[f"core.array.row_{row}.pe_{column}.filter.0.0"]["attributes"]["BEL"]]
             for column in range(12)] for row in range(12)]
    for line in grid:
        assert all(0 < b.x - a.x <= 5 for a, b in pairwise(line))
    for above, below in pairwise(grid):
        # A step along the strip, or one to the strip beside it.
        assert all((abs(b.band - a.band), abs(b.x - a.x) // 24) in ((1, 0), (0, 1))
                   for a, b in zip(above, below, strict=True))


def test_what_has_no_room_is_left_to_the_placer():
    cells = design(12, 12, 13)
    assert place_elements(cells, LFE5U_85) == 144
    assert all(name.endswith("filter.0.0") for name in places(cells))
    assert place_elements(design(0, 0, 3), LFE5U_85) == 0

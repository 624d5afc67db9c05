"""Tables of energy per action."""

from __future__ import annotations

import csv

import pytest
from oarlock.gen.energy import EnergyTable, EnergyTableError, energies, load_table, table_names
from shared_data import shared_file


VALUES = {"source": "test", "node_nm": 28, "bits": 16, "unit": "pJ", "costs": {"mac_done": 2.0}}


def test_tables_are_the_published():
    rows = list(csv.DictReader(
        line for line in shared_file("eyeriss/energy_reference.csv").read_text().splitlines()
        if not line.startswith("#")))
    published = {(row["source"].split()[0], row["component"], row["action"]):
                 (float(row["pj"].rstrip("x")) * 16 / int(row["bits"]), int(row["node_nm"]))
                 for row in rows if "-" not in row["pj"]}
    for name, source, entries in (
            ("isca16", "ISCA2016", {
                "dram": ("dram", "access"), "buffer_read": ("global_buffer", "access"),
                "buffer_write": ("global_buffer", "access"), "array": ("inter_pe", "transfer"),
                "scratchpad_ifmap": ("register_file", "access"),
                "scratchpad_weight": ("register_file", "access"),
                "scratchpad_psum": ("register_file", "access")}),
            ("accelergy_45nm", "Accelergy", {
                "mac_done": ("mac", "random"), "mac_gated": ("mac", "gated"),
                "scratchpad_ifmap": ("ifmap_spad_12x16", "access_avg"),
                "scratchpad_weight": ("weight_spad_192x16", "access_avg"),
                "scratchpad_psum": ("psum_spad_16x16", "access_avg"),
                "buffer_read": ("global_buffer_25x512x64", "read_avg"),
                "buffer_write": ("global_buffer_25x512x64", "write_avg"),
                "array": ("noc", "transfer_avg")})):
        table = load_table(name)
        for action, entry in entries.items():
            assert (table.costs[action], table.node_nm) == published[source, *entry]
        assert set(table.costs) - set(entries) <= {"mac_done", "mac_gated"}
    assert table_names() == ["accelergy_45nm", "isca16"]


def test_cost():
    table = EnergyTable(**VALUES | {"costs": {"mac_done": 2.0, "array": 4.0}})
    assert table.cost("array") == 4
    assert table.cost("array", 8) == 2
    assert table.cost("array", 32) == 8
    assert table.cost("mac_done", 8) == 2
    assert energies({("noc", "ifmap"): ("array", 3, 8)}, table) == {("noc", "ifmap"): 6}
    with pytest.raises(EnergyTableError, match="test says nothing about 'dram'"):
        table.cost("dram")


def toml(values: dict) -> str:
    lines = [f"{key} = {value!r}" for key, value in values.items() if key != "costs"]
    costs = values.get("costs", {})
    return "\n".join([*lines, "[costs]", *(f"{key} = {value}" for key, value in costs.items())])


@pytest.mark.parametrize(("change", "message"), [
    ({"unit": "nJ"}, "unit must be 'pJ' or 'MAC', not 'nJ'"),
    ({"nodes": 1}, "unknown key 'nodes'"),
    ({"bits": "16"}, "bits must be of type int, not '16'"),
    ({"costs": {"multiply": 1}}, "energy table has no action 'multiply'"),
    ({"costs": {"array": -1}}, "array must be a cost of at least 0, not -1"),
])
def test_bad_tables(tmp_path, change, message):
    path = tmp_path / "table.toml"
    path.write_text(toml(VALUES))
    assert load_table(path).costs == {"mac_done": 2.0}
    path.write_text(toml(VALUES | change))
    with pytest.raises(EnergyTableError, match=message):
        load_table(path)


def test_no_table(tmp_path):
    with pytest.raises(EnergyTableError, match=r"must be one of accelergy_45nm, isca16 or a .toml"):
        load_table("horowitz")
    with pytest.raises(EnergyTableError, match=r"none\.toml"):
        load_table(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("source =")
    with pytest.raises(EnergyTableError, match=r"bad\.toml"):
        load_table(tmp_path / "bad.toml")

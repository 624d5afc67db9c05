"""Our figures beside those that others have published of the same networks, as Markdown."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import OarlockError


__all__ = ["NETWORKS", "comparison", "insert", "systems"]

PUBLISHED = Path(__file__).with_name("published_systems.toml")

#: MLPerf Tiny's benchmarks by the names of its files.
NETWORKS = {"kws_ref_model": "KWS", "vww_96_int8": "VWW", "pretrainedResnet_quant": "IC",
            "ad01_int8": "AD"}

BEGIN, END = "<!-- how it compares: begin -->", "<!-- how it compares: end -->"


def systems() -> list[dict[str, Any]]:
    """Return what ``published_systems.toml`` says of others, system by system."""
    return tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["systems"]


def comparison(reports: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return the tables that compare, and how their figures came about.

    Parameters
    ----------
    reports : list of dict
        What :func:`oarlock.gen.report.measure` returned for networks of :data:`NETWORKS`, all on
        the same array.
    command : :class:`str`
        What made it, and stands in it.

    Raises
    ------
    OarlockError
        If there is nothing to compare with.
    """
    ours = {NETWORKS[report["run"]["model"]]: report for report in reports
            if report["run"]["model"] in NETWORKS}
    if not ours:
        raise OarlockError("nothing published to compare with: none of the models is named "
                           f"{', '.join(NETWORKS)}")
    columns = [name for name in NETWORKS.values() if name in ours]
    first = next(iter(ours.values()))
    run, clock = first["run"], first["clock_hz"] / 1e6
    costs = first["table"]["source"]
    who = f"**Oarlock, {run['rows']}×{run['cols']} {run['dataflow']}**"

    def table(title: str, key: str, own: str, figure: Callable[[Any], float], form: str,
              ) -> list[str]:
        lines = [f"| {title} | {' | '.join(columns)} |", "|---" + "|---:" * len(columns) + "|",
                 f"| {own} | " + " | ".join(
                     format(figure(ours[name]), form) for name in columns) + " |"]
        lines += [f"| {peer['name']} | " + " | ".join(
            str(peer[key].get(name, "–")) for name in columns) + " |"
            for peer in systems() if any(name in peer.get(key, {}) for name in columns)]
        return [*lines, ""]

    return "\n".join([
        *table("ms per inference, batch 1", "milliseconds", f"{who}, {clock:g} MHz ¹",
               lambda report: 1e3 * report["latency_s"], ".3f"),
        *table("useful MACs per cycle", "macs_per_cycle", f"{who}, {run['pes']} at most",
               lambda report: report["run"]["macs"] / report["run"]["cycles"], ".1f"),
        *table("µJ per inference", "microjoules", f"{who}, modelled ²",
               lambda report: 1e6 * report["energy"]["device_j"], ".1f"),
        f"Oarlock's figures are made by `{command}`:",
        "cycles counted in the Verilated Verilog, every output bit-exact.",
        "The others' are published: MLPerf Tiny, closed division, single stream.",
        "¹ The clock is what the preset aims at, not one that was placed and routed.",
        f"² The array, its scratchpads and the buffer, by the costs of: {costs};",
        "no clock tree, no leakage, no link. The others measured whole systems.", "",
    ])


def insert(page: str, section: str, path: Path) -> str:
    """Return a page with a section in the place of the one between its markers.

    Raises
    ------
    OarlockError
        If the page, which ``path`` names, has no such place.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise OarlockError(f"{path}: has no lines {BEGIN} and {END} to write between")
    return f"{before}{begin}\n{section}\n{end}{after}"

"""What ``oarlock eyeriss`` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .published import Figure, constants


__all__ = ["NOTES", "show"]

#: What the tables show and why it is not 1.00, by table.
NOTES = {
    "AlexNet": [
        "Mapping by search: fewest DRAM accesses, then most PEs, then least energy on the chip.",
        "CONV3: the published buffer traffic is exactly that of this mapping (q 3, r 2, t 2).",
    ],
    "AlexNet, printed mapping": [
        "The mapping parameters of JSSC 2017. CONV3's buffer traffic is off by 38 %: with q 4 and "
        "r 1 each partial sum visits the array 64 times, the published figure allows 43.",
    ],
    "VGG-16": [
        "Active PEs are those of the chip; no mapping is printed for VGG-16, and apart from its "
        "totals the published rows are recalled, not verified.",
        "CONV2 and CONV3: the chip's traffic is that of one and two channels a pass, half of what "
        "the buffer has room for, as if ifmaps were held twice; the array waits for partial sums, "
        "so time follows the traffic.",
        "CONV1: the array waits 4/5 of the time there, and the model has no energy for a cycle in "
        "which nothing moves (clock, leakage).",
    ],
    "dataflows": [
        "Energy over AlexNet's CONV layers, relative to RS with 256 PEs and N = 1.",
        "RS moves 10 to 80 % more in the array here (3 % of its energy): the search ends at the "
        "least energy with slightly smaller windows than the paper's, at the same total.",
    ],
}


def show(console: Console, tables: dict[str, list[Figure]]) -> None:
    """Print a table for each group of figures: a row a layer or design, a column a figure."""
    for title, figures in tables.items():
        names = list(dict.fromkeys(figure.name for figure in figures))
        table = Table(title=f"{title}: model | published | ratio", title_justify="left",
                      title_style="bold", header_style="bold")
        table.add_column("", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        rows = dict.fromkeys(figure.of for figure in figures)
        for of in rows:
            found = {figure.name: figure for figure in figures if figure.of == of}
            table.add_row(of, *(_cell(found.get(name)) for name in names))
        console.print(table)
        for note in NOTES.get(title, []):
            console.print(f"  {note}", highlight=False)
    console.print(f"  Power: {constants()}, the same for all layers of both networks.",
                  highlight=False)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    digits = 3 if abs(figure.published) < 10 else 0 if figure.name == "active PEs" else 1
    return (f"{figure.model:.{digits}f} | {figure.published:.{digits}f} | {figure.ratio:.2f}")

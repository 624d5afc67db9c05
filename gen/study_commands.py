"""The commands for architects: ``oarlock compare``, ``report``, ``eyeriss``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import (
    NOT_BIT_EXACT,
    Config,
    Json,
    Model,
    Preset,
    Rounding,
    check_folder,
    config_of,
    console,
    load_array,
    progress_bar,
    write_json,
)


__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def compare(
    model: Model,
    input: Annotated[Path | None, typer.Option(
        help="Inputs with a leading batch, of which the first is used; random without.",
        show_default=False, metavar="X.npy")] = None,
    preset: Preset = "ulx3s-85f",
    rounding: Rounding = "single",
    json_file: Json = None,
    config: Config = None,
) -> int:
    """Run a network with every dataflow, and show cycles and accesses side by side.

    Exit status 0 only if every output was bit-exact.
    """
    from .compare import compare as compare_dataflows

    inputs = None if input is None else load_array(input)
    check_folder(json_file)
    with progress_bar(quiet=json_file is not None) as progress:
        found = compare_dataflows(
            model, inputs, preset=preset, rounding=rounding,  # type: ignore[arg-type]
            file=config, progress=progress)
    if json_file is not None:
        write_json(json_file, found)
    else:
        from .tables import compare_table

        compare_table(console(), found)
    return 0 if found["bit_exact"] else NOT_BIT_EXACT


@commands.command()
def report(
    model: Model,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="The page; <model>.html here without.", show_default=False,
        metavar="REPORT.html")] = None,
    input: Annotated[Path | None, typer.Option(
        help="Inputs with a leading batch, of which the first is used; random without.",
        show_default=False, metavar="X.npy")] = None,
    preset: Preset = "ulx3s-85f",
    dataflow: Annotated[list[str] | None, typer.Option(
        help="May be given several times; the first is shown in detail. All without, the "
             "preset's first.", show_default=False)] = None,
    rounding: Rounding = "single",
    energy: Annotated[str, typer.Option(
        help="Energy per action: accelergy_45nm, or a TOML file.")] = "accelergy_45nm",
    rate: Annotated[float, typer.Option(
        help="Inferences a second, for the hours on a battery.")] = 1.0,
    link_energy: Annotated[float, typer.Option(
        help="pJ for a bit that crosses the chip's edge.")] = 20.0,
    json_file: Json = None,
    config: Config = None,
) -> int:
    """Show where cycles and energy of a network go: one page, from one simulated run.

    Exit status 0 only if every output was bit-exact.
    """
    from .energy import load_table
    from .report import measure

    inputs = None if input is None else load_array(input)
    table = load_table(energy)
    if output is None and json_file is None:
        output = Path(f"{model.stem}.html")
    for path in (output, json_file):
        check_folder(path)
    # Before the first is run, which takes its time.
    arrays = [config_of(preset, config, name)
              for name in dataflow or _all_dataflows(config_of(preset, config, None).dataflow)]
    with progress_bar(quiet=json_file is not None) as progress:
        reports = [measure(model, inputs, table=table, preset=preset, config=array, rate=rate,
                           rounding=rounding,  # type: ignore[arg-type]
                           link_pj_per_bit=link_energy, progress=progress)
                   for array in arrays]
    if output is not None:
        from .report_page import page

        words = ["oarlock report", model.name, "--preset", preset,
                 *(f"--dataflow {name}" for name in dataflow or [])]
        output.write_text(page(reports, " ".join(words)), encoding="utf-8")
        if json_file is None:
            console().print(f"{output}: {output.stat().st_size:,} bytes", highlight=False,
                             markup=False)
    if json_file is not None:
        write_json(json_file, reports)
    return 0 if all(found["run"]["bit_exact"] for found in reports) else NOT_BIT_EXACT


@commands.command()
def eyeriss(
    data: Annotated[Path, typer.Option(
        help="The folder of published figures: holds eyeriss/ and topologies/.",
        metavar="DIR")] = Path("../shared/data"),
    json_file: Json = None,
) -> None:
    """Hold the models of the Eyeriss chip and of six dataflows against what was published.

    Every figure stands as model, published and ratio; takes about a minute.
    """
    from .published import as_json, chip_figures, dataflow_figures
    from .published_tables import show

    check_folder(json_file)
    figures = {
        "AlexNet": chip_figures(data, "AlexNet"),
        "AlexNet, printed mapping": chip_figures(data, "AlexNet", printed=True),
        "VGG-16": chip_figures(data, "VGG-16"),
        "dataflows": list(dataflow_figures(data)),
    }
    if json_file is not None:
        write_json(json_file, {name: as_json(found) for name, found in figures.items()})
    else:
        show(console(), figures)


def _all_dataflows(first: str) -> list[str]:
    from .config import DATAFLOWS

    return [first, *(name for name in DATAFLOWS if name != first)]

"""The commands for boards: ``oarlock build``, ``flash``, ``devices``, ``emulate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .cli_options import (
    Config,
    Dataflow,
    Json,
    check_folder,
    complain,
    config_of,
    console,
    progress_bar,
    write_json,
)


__all__ = ["commands"]

CLOCK_MISSED = 1

commands = typer.Typer()

BoardName = Annotated[str, typer.Option("--board", help="The board, such as ulx3s-25f.",
                                        show_default=False, metavar="BOARD")]


@commands.command()
def devices(
    probe: Annotated[bool, typer.Option(
        "--probe", help="Open each and ask what it is; whatever runs there is stopped.")] = False,
    all_ports: Annotated[bool, typer.Option(
        "--all", help="Also ports with no known bridge behind them.")] = False,
    baud: Annotated[int | None, typer.Option(
        help="Bits a second, for --probe (3,000,000).", show_default=False)] = None,
    port: Annotated[list[str] | None, typer.Option(
        help="Only this one, whatever it is; may be given several times.",
        show_default=False)] = None,
    json_file: Json = None,
) -> None:
    """Show the serial ports with boards that may be ours."""
    from dataclasses import asdict

    from ..sw_driver.ports import Device, list_devices, probed
    from ..sw_driver.serial_transport import BAUD
    from .tables import devices_table

    found = list_devices(all_ports=all_ports)
    if port:
        known = {device.port: device for device in list_devices(all_ports=True)}
        found = [known.get(name, Device(port=name)) for name in port]
    if probe:
        found = [probed(device, baud=baud or BAUD) for device in found]
    if json_file is not None:
        write_json(json_file, [asdict(device) for device in found])
    else:
        devices_table(console(), found)


@commands.command()
def emulate(
    board: Annotated[str | None, typer.Option(
        help="A board with its configuration, clock and baud rate.", show_default=False)] = None,
    preset: Annotated[str | None, typer.Option(
        help="Instead of a board: the accelerator.", show_default=False)] = None,
    config: Config = None,
    dataflow: Dataflow = None,
    clock: Annotated[int | None, typer.Option(
        help="Cycles a second (the board's, or 60,000,000).", show_default=False)] = None,
    baud: Annotated[int | None, typer.Option(
        help="Bits a second (the board's, or 3,000,000).", show_default=False)] = None,
    link: Annotated[Path | None, typer.Option(
        help="Make a symbolic link to the port.", show_default=False, metavar="PATH")] = None,
    faults: Annotated[float, typer.Option(
        help="Damage one byte in so many on the way; 0: none.", metavar="N")] = 0,
    seed: Annotated[int, typer.Option(help="Of the damage.")] = 1,
) -> None:
    """Simulate a board behind a pseudo-terminal, for: oarlock run --target serial:PORT.

    Runs until it is interrupted.
    """
    from ..boards.registry import board_named
    from ..sim.emulate import emulate as run_emulator
    from .errors import OarlockError

    if (board is None) == (preset is None):
        raise OarlockError("emulate needs either --board or --preset")
    default_clock, default_baud, name = 60_000_000, 3_000_000, str(preset)
    if board is not None:
        found = board_named(board)
        default_clock, default_baud, name = found.clock_hz, found.baud, found.preset_name
    check_folder(link)
    with progress_bar() as progress:
        run_emulator(
            config_of(name, config, dataflow), name=name,
            clock_hz=clock or default_clock, baud=baud or default_baud,
            link=link, faults=faults, seed=seed, progress=progress,
            say=lambda text: print(text, flush=True))


@commands.command()
def build(
    board: BoardName,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="The folder; build/BOARD without.", show_default=False,
        metavar="DIR")] = None,
    config: Config = None,
    dataflow: Dataflow = None,
    seeds: Annotated[int, typer.Option(
        help="Placements to try until one meets the clock.")] = 1,
) -> int:
    """Build a board's bitstream.

    Exit status 0 only if the clock that the board declares is met, 1 if it is missed.
    """
    from ..boards.build import build as build_board
    from ..boards.registry import board_named
    from .tables import build_table

    target = board_named(board)
    if config is not None or dataflow is not None:
        target = replace(target, array=config_of(target.preset_name, config, dataflow))
    folder = output or Path("build") / board
    with progress_bar() as progress:
        result = build_board(target, folder, seeds=seeds, progress=progress)
    build_table(console(), result.report, folder)
    if result.complaint:
        complain(result.complaint)
    return 0 if result.bitstream is not None else CLOCK_MISSED


@commands.command()
def flash(
    board: BoardName,
    file: Annotated[Path | None, typer.Option(
        help="The bitstream; that in build/BOARD without.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Print the command and do nothing.")] = False,
) -> None:
    """Put a bitstream onto a board."""
    import shlex

    from ..boards.families import FAMILIES
    from ..boards.flash import command
    from ..boards.flash import flash as flash_board
    from ..boards.registry import board_named

    target = board_named(board)
    path = file or Path("build") / board / f"{board}.{FAMILIES[target.family].bitstream}"
    if dry_run:
        console().print(shlex.join(command(target, path)), highlight=False, markup=False,
                         soft_wrap=True)
        return
    flash_board(target, path)

"""The command line: ``oarlock run`` and its companions."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer


# Everything else is imported where it is used: help must not wait for numpy and Amaranth.
if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from .cache import Progress
    from .config import ArrayConfig

__all__ = ["app", "main"]

NOT_BIT_EXACT, USER_ERROR, INTERRUPTED = 1, 2, 130
CLOCK_MISSED = 1

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Run int8 .tflite networks, bit-exact, on generated accelerator hardware.")

Model = Annotated[Path, typer.Argument(help="An int8 .tflite file.", show_default=False)]
Preset = Annotated[str, typer.Option(help="The accelerator; see: oarlock presets.")]
Dataflow = Annotated[str | None, typer.Option(help="Replaces the preset's.", show_default=False)]
Rounding = Annotated[str, typer.Option(help="Of requantizations: single (LiteRT) or double "
                                            "(gemmlowp, TFLite Micro).")]
BoardName = Annotated[str, typer.Option("--board", help="The board, such as ulx3s-25f.",
                                        show_default=False, metavar="BOARD")]
Config = Annotated[Path | None, typer.Option(
    help="A TOML file that changes values of the preset.", show_default=False, metavar="FILE.toml")]
Json = Annotated[Path | None, typer.Option(
    "--json", help="Write JSON to this file (-: standard output) and print nothing else.",
    show_default=False, metavar="FILE")]


@app.command()
def run(
    model: Model,
    input: Annotated[Path | None, typer.Option(
        help="Inputs with a leading batch of any size; random without.", show_default=False,
        metavar="X.npy")] = None,
    output: Annotated[Path | None, typer.Option(
        help="Where to write the outputs.", show_default=False, metavar="Y.npy")] = None,
    preset: Preset = "ulx3s-85f",
    dataflow: Dataflow = None,
    target: Annotated[str, typer.Option(
        help="What to run on: sim, or serial:PORT[@BAUD].")] = "sim",
    timeout: Annotated[float | None, typer.Option(
        help="Seconds for which nothing may move on the serial port (10); more for a device that "
             "is simulated slowly.", show_default=False, metavar="SECONDS")] = None,
    rounding: Rounding = "single",
    json_file: Json = None,
    waves: Annotated[Path | None, typer.Option(
        help="Write the waves of all signals, as .fst or .vcd.", show_default=False,
        metavar="FILE.fst")] = None,
    config: Config = None,
) -> int:
    """Run a network and compare every output with the numpy reference.

    Exit status 0 only if every output was bit-exact, 1 if one was not, 2 after an error.
    """
    from .runner import run_model

    inputs = None if input is None else _load_array(input)
    for path in (output, json_file, waves):
        _check_folder(path)
    with _progress(quiet=json_file is not None) as progress:
        result = run_model(
            model, inputs, preset=preset, rounding=rounding,  # type: ignore[arg-type]
            target=target, timeout=timeout, waves=waves, config=_config(preset, config, dataflow),
            progress=progress)
    if output is not None:
        import numpy as np

        with open(output, "wb") as file:
            np.save(file, result.outputs)
    if json_file is not None:
        _write_json(json_file, result.report)
        if result.mismatch:
            _complain(f"not bit-exact: {result.mismatch}")
    else:
        from .tables import run_tables

        run_tables(_console(), result)
    return 0 if result.bit_exact else NOT_BIT_EXACT


@app.command()
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

    inputs = None if input is None else _load_array(input)
    _check_folder(json_file)
    with _progress(quiet=json_file is not None) as progress:
        found = compare_dataflows(
            model, inputs, preset=preset, rounding=rounding,  # type: ignore[arg-type]
            file=config, progress=progress)
    if json_file is not None:
        _write_json(json_file, found)
    else:
        from .tables import compare_table

        compare_table(_console(), found)
    return 0 if found["bit_exact"] else NOT_BIT_EXACT


@app.command()
def inspect(model: Model, json_file: Json = None) -> None:
    """Show the layers of a network."""
    from .tables import inspect_rows, inspect_table
    from .tflite_import import load

    network = load(model)
    if json_file is not None:
        _write_json(json_file, {"model": network.name, "macs": network.macs,
                                "layers": inspect_rows(network)})
    else:
        inspect_table(_console(), network)


@app.command("compile")
def compile_command(
    model: Model,
    output: Annotated[Path, typer.Option(
        "--output", "-o", help="The program file.", show_default=False, metavar="FILE")],
    preset: Preset = "ulx3s-85f",
    dataflow: Dataflow = None,
    rounding: Rounding = "single",
    config: Config = None,
) -> None:
    """Compile a network into a program file for the driver."""
    from .runner import compiled_file

    _check_folder(output)
    with _progress() as progress:
        path = compiled_file(model, _config(preset, config, dataflow),
                             rounding, progress=progress)  # type: ignore[arg-type]
    output.write_bytes(path.read_bytes())
    _console().print(f"{output}: {output.stat().st_size:,} bytes", highlight=False, markup=False)


@app.command()
def bench(
    models: Annotated[list[Path], typer.Argument(help="int8 .tflite files.", show_default=False)],
    preset: Annotated[list[str] | None, typer.Option(
        help="May be given several times; ulx3s-85f without.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="Write a Markdown page.", show_default=False,
        metavar="FILE.md")] = None,
    json_file: Json = None,
) -> int:
    """Run networks on presets and report cycles, utilization and stalls, layer by layer.

    Exit status 0 only if every output was bit-exact.
    """
    from .bench import measure, report

    presets = preset or ["ulx3s-85f"]
    for path in (output, json_file):
        _check_folder(path)
    with _progress(quiet=json_file is not None) as progress:
        results = measure(models, presets, progress=progress)
    names = " ".join(["oarlock bench", *(model.name for model in models),
                      *(f"--preset {name}" for name in presets)])
    page = report(results, names)
    if output is not None:
        output.write_text(page, encoding="utf-8")
    if json_file is not None:
        _write_json(json_file, results)
    elif output is None:
        _console().print(page, highlight=False, markup=False, soft_wrap=True)
    return 0 if all(result["bit_exact"] for result in results) else NOT_BIT_EXACT


@app.command()
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

    inputs = None if input is None else _load_array(input)
    table = load_table(energy)
    if output is None and json_file is None:
        output = Path(f"{model.stem}.html")
    for path in (output, json_file):
        _check_folder(path)
    # Before the first is run, which takes its time.
    arrays = [_config(preset, config, name)
              for name in dataflow or _all_dataflows(_config(preset, config, None).dataflow)]
    with _progress(quiet=json_file is not None) as progress:
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
            _console().print(f"{output}: {output.stat().st_size:,} bytes", highlight=False,
                             markup=False)
    if json_file is not None:
        _write_json(json_file, reports)
    return 0 if all(found["run"]["bit_exact"] for found in reports) else NOT_BIT_EXACT


@app.command()
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

    _check_folder(json_file)
    figures = {
        "AlexNet": chip_figures(data, "AlexNet"),
        "AlexNet, printed mapping": chip_figures(data, "AlexNet", printed=True),
        "VGG-16": chip_figures(data, "VGG-16"),
        "dataflows": list(dataflow_figures(data)),
    }
    if json_file is not None:
        _write_json(json_file, {name: as_json(found) for name, found in figures.items()})
    else:
        show(_console(), figures)


@app.command()
def verilog(
    output: Annotated[Path, typer.Option(
        "--output", "-o", help="The folder.", show_default=False, metavar="DIR")],
    preset: Preset = "ulx3s-85f",
    dataflow: Dataflow = None,
    model: Annotated[Path | None, typer.Option(
        help="An int8 .tflite file: adds its program and a self-checking testbench.",
        show_default=False, metavar="M.tflite")] = None,
    input: Annotated[Path | None, typer.Option(
        help="The testbench's input, with a leading batch of which the first is used; random "
             "without.", show_default=False, metavar="X.npy")] = None,
    rounding: Rounding = "single",
    config: Config = None,
) -> None:
    """Write the accelerator's Verilog, manifest and C header into a folder."""
    from .errors import OarlockError
    from .product import write

    if model is None and input is not None:
        raise OarlockError("--input needs a --model")
    array = _config(preset, config, dataflow)
    inputs = None if input is None else _load_array(input)
    with _progress() as progress:
        extra = {}
        if model is not None:
            from .testbench import files

            extra = files(model, array, inputs=inputs,
                          rounding=rounding,  # type: ignore[arg-type]
                          progress=progress)
        paths = write(array, output, extra=extra, progress=progress)
    for path in paths:
        _console().print(f"{path}: {path.stat().st_size:,} bytes", highlight=False, markup=False)


@app.command()
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
        _write_json(json_file, [asdict(device) for device in found])
    else:
        devices_table(_console(), found)


@app.command()
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
    from ..boards.link_table import LINKS
    from ..sim.emulate import emulate as run_emulator
    from .errors import OarlockError

    if (board is None) == (preset is None):
        raise OarlockError("emulate needs either --board or --preset")
    if board is not None and board not in LINKS:
        raise OarlockError(f"board must be one of {', '.join(LINKS)}, not {board!r}")
    entry = None if board is None else LINKS[board]
    name = entry.preset if entry is not None else str(preset)
    _check_folder(link)
    with _progress() as progress:
        def say(text: str) -> None:
            print(text, flush=True)

        run_emulator(
            _config(name, config, dataflow), name=board or name, preset=name,
            clock_hz=clock or (entry.clock_hz if entry is not None else 60_000_000),
            baud=baud or (entry.baud if entry is not None else 3_000_000),
            link=link, faults=faults, seed=seed, progress=progress, say=say)


@app.command()
def build(
    board: BoardName,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="The folder; build/BOARD without.", show_default=False,
        metavar="DIR")] = None,
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
    folder = output or Path("build") / board
    with _progress() as progress:
        result = build_board(target, folder, seeds=seeds, progress=progress)
    build_table(_console(), result.report, folder)
    if result.complaint:
        _complain(result.complaint)
    return 0 if result.bitstream is not None else CLOCK_MISSED


@app.command()
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
        _console().print(shlex.join(command(target, path)), highlight=False, markup=False,
                         soft_wrap=True)
        return
    flash_board(target, path)


@app.command()
def presets(json_file: Json = None) -> None:
    """Show the presets."""
    from dataclasses import asdict

    from .config import PRESETS
    from .tables import presets_table

    if json_file is not None:
        _write_json(json_file, {name: asdict(config) | {"digest": f"{config.digest:016x}"}
                                for name, config in PRESETS.items()})
    else:
        presets_table(_console(), PRESETS)


@app.command()
def doctor(json_file: Json = None) -> int:
    """Show which tools were found, and how to install what is missing."""
    from ..sim.toolchain import find_verilator
    from .doctor import as_json, examine, show

    found = examine(find_verilator)
    if json_file is not None:
        _write_json(json_file, as_json(found))
    else:
        show(_console(), found)
    return int(any(entry.required and entry.version is None for entry in found))


def _all_dataflows(first: str) -> list[str]:
    from .config import DATAFLOWS

    return [first, *(name for name in DATAFLOWS if name != first)]


def _config(preset: str, file: Path | None, dataflow: str | None) -> ArrayConfig:
    from .config import load_config

    return load_config(preset, file=file,
                       **({} if dataflow is None else {"dataflow": dataflow}))


def _load_array(path: Path) -> np.ndarray:
    import numpy as np

    from .runner import InputError

    try:
        with open(path, "rb") as file:
            array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: is not an .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: holds several arrays; one is needed")
    return array


def _check_folder(path: Path | None) -> None:
    """Complain of a file that cannot be written before minutes of work, not after."""
    if path is not None and str(path) != "-" and not path.parent.is_dir():
        raise FileNotFoundError(2, "No such folder", str(path.parent))


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    # Tables that are kept or piped on must not be folded to the 80 columns of no terminal.
    return console if console.is_terminal else Console(stderr=stderr, width=200)


@contextmanager
def _progress(*, quiet: bool = False) -> Iterator[Progress]:
    from .cache import no_progress

    if quiet:
        yield no_progress
        return
    from .tables import show_progress

    with show_progress(_console(stderr=True)) as progress:
        yield progress


def _complain(text: str) -> None:
    print("oarlock:", " ".join(text.split()), file=sys.stderr)


def _terminate(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; what a user can mend is one line on stderr."""
    from ..sw_driver.errors import DriverError
    from .errors import OarlockError

    # Ends like Ctrl-C: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, _terminate)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = app(list(arguments) or ["--help"], prog_name="oarlock", standalone_mode=False)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except (OarlockError, DriverError) as error:
        _complain(str(error))
        status = USER_ERROR
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}")
        status = USER_ERROR
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("oarlock"):
            raise
        _complain(f"Python package {error.name} is missing; see: oarlock doctor")
        status = USER_ERROR
    # The base of all its complaints about arguments; Typer exports only this one of them.
    except typer.BadParameter.__mro__[1] as error:
        _complain(error.format_message())  # type: ignore[attr-defined]
        status = USER_ERROR
    if status == INTERRUPTED:
        _complain("interrupted")
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())

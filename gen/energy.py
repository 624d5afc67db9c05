"""Energy of actions: published tables, never two of them in one figure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import OarlockError


__all__ = ["ACTIONS", "EnergyTable", "EnergyTableError", "energies", "load_table", "table_names"]

#: Everything that may cost energy; a table may lack some, which then must not be asked for.
ACTIONS = ("mac_done", "mac_gated", "scratchpad_ifmap", "scratchpad_weight", "scratchpad_psum",
           "array", "buffer_read", "buffer_write", "dram")

TABLES = Path(__file__).parent / "energy_tables"


class EnergyTableError(OarlockError, ValueError):
    """A table that is not there, cannot be read or lacks what is asked for."""


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """What one action costs, after one source.

    Members
    -------
    source : :class:`str`
        Where the figures are from.
    node_nm, bits : :class:`int`
        Process, and width of the values of an access.
    unit : :class:`str`
        ``"pJ"``, or ``"MAC"``: relative to one multiply-accumulate.
    costs : mapping of :class:`str` to :class:`float`
        By names of :data:`ACTIONS`.
    """

    source: str
    node_nm: int
    bits: int
    unit: str
    costs: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.unit not in ("pJ", "MAC"):
            raise EnergyTableError(f"unit must be 'pJ' or 'MAC', not {self.unit!r}")
        for name, cost in self.costs.items():
            if name not in ACTIONS:
                raise EnergyTableError(f"energy table has no action {name!r}")
            if not isinstance(cost, int | float) or cost < 0:
                raise EnergyTableError(f"{name} must be a cost of at least 0, not {cost!r}")

    def cost(self, action: str, bits: int | None = None) -> float:
        """Return the cost of an action, of values ``bits`` wide: in proportion to their width.

        A multiplication's cost is not proportional, so it is not scaled: an upper bound for
        narrower ones.
        """
        if action not in self.costs:
            raise EnergyTableError(f"{self.source} says nothing about {action!r}")
        if bits is None or action.startswith("mac"):
            return self.costs[action]
        return self.costs[action] * bits / self.bits


def table_names() -> list[str]:
    """Return the tables that come with Oarlock."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def load_table(name: str | Path) -> EnergyTable:
    """Return a table by its name, or from a TOML file of one's own.

    Raises
    ------
    EnergyTableError
        If it is not there or not a table.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in table_names():
            raise EnergyTableError(
                f"energy table must be one of {', '.join(table_names())} or a .toml file, "
                f"not {str(name)!r}")
        path = TABLES / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EnergyTableError(f"{path}: {error}") from error
    names = set(EnergyTable.__dataclass_fields__)
    if set(values) != names:
        odd = sorted(set(values) ^ names)[0]
        raise EnergyTableError(f"{path}: {'unknown' if odd in values else 'missing'} key {odd!r}")
    for key, kind in (("source", str), ("unit", str), ("node_nm", int), ("bits", int),
                      ("costs", dict)):
        if not isinstance(values[key], kind):
            raise EnergyTableError(f"{path}: {key} must be of type {kind.__name__}, "
                                   f"not {values[key]!r}")
    return EnergyTable(**values)


def energies(actions: Mapping[tuple[str, str], tuple[str, float, int]], table: EnergyTable,
             ) -> dict[tuple[str, str], float]:
    """Return energy by (level, operand) from (action, how often, bits of a value)."""
    return {key: count * table.cost(action, bits) for key, (action, count, bits) in actions.items()}

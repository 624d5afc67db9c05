"""Where cycles and energy of a network go, layer by layer, from one simulated run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cache
from .config import ArrayConfig, load_config
from .counts import gated_macs, layer_counts
from .energy import EnergyTable, energies
from .errors import OarlockError
from .interpret import evaluate
from .network import Layer, Network
from .runner import check_inputs, compile_model, random_inputs, run_model


if TYPE_CHECKING:
    from ..sim.reference import Rounding
    from ..sw_driver.program import Program

__all__ = ["BATTERY_WH", "CLOCK_STATED", "LINK_PJ_PER_BIT", "actions_of", "measure"]

#: Energy of a bit that crosses the chip's edge, unless another is given: DRAM after Horowitz, ISSCC
#: 2014 (1.3 to 2.6 nJ for 64 bits, the lower end). Never added to energy from another source.
LINK_PJ_PER_BIT = 20.0
BATTERY_WH = 10.0
CLOCK_STATED = "what the preset aims at; no place and route was done for this report"

ACTIVATION_BITS, WEIGHT_BITS, SUM_BITS = 8, 8, 32


def actions_of(counts: Counter[str], config: ArrayConfig, *, gating: bool = True,
               ) -> dict[tuple[str, str], list[tuple[str, int, int]]]:
    """Return (action, how often, bits) by (level, operand): what :func:`energies` prices.

    Parameters
    ----------
    counts : :class:`collections.Counter`
        By the names of :data:`~oarlock.hw.isa.COUNTERS`, and ``psum_hops``, ``vector_reads``,
        ``vector_writes``.
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The array.
    gating : :class:`bool`
        As it is; False: what it would be if no MAC were gated.
    """
    done, gated = counts["macs_done"], counts["macs_gated"]
    if not gating:
        done, gated = done + gated, 0
    conv_reads = counts["buffer_reads"] - counts["vector_reads"]
    word = 8 * config.word_bytes
    return {
        ("MAC", "MACs"): [("mac_done", done, 16), ("mac_gated", gated, 16)],
        ("scratchpad", "ifmap"): [
            ("scratchpad_ifmap", counts["ifmap_writes"], ACTIVATION_BITS),
            ("scratchpad_ifmap", counts["macs_done"] + counts["macs_gated"], ACTIVATION_BITS)],
        ("scratchpad", "weight"): [("scratchpad_weight", done, WEIGHT_BITS)],
        # Every executed MAC reads its sum and writes it.
        ("scratchpad", "psum"): [("scratchpad_psum", 2 * done, SUM_BITS)],
        ("network", "ifmap"): [("array", counts["ifmap_writes"], ACTIVATION_BITS)],
        ("network", "psum"): [("array", counts["psum_hops"], SUM_BITS)],
        ("buffer", "ifmap"): [("buffer_read", conv_reads, word)],
        ("buffer", "psum"): [("buffer_write", counts["outputs"], ACTIVATION_BITS)],
        ("buffer", "vector"): [("buffer_read", counts["vector_reads"], 8 * config.lanes)],
    }


def _priced(counts: Counter[str], config: ArrayConfig, table: EnergyTable, *,
            gating: bool = True) -> dict[tuple[str, str], float]:
    """Return energy by (level, operand), in the table's unit."""
    found = {}
    for key, actions in actions_of(counts, config, gating=gating).items():
        found[key] = sum(sum(energies({key: action}, table).values()) for action in actions)
    return found


def measure(
    model: Path, inputs: np.ndarray | None = None, *, table: EnergyTable, preset: str = "ulx3s-85f",
    config: ArrayConfig | None = None, rounding: Rounding = "single", rate: float = 1.0,
    link_pj_per_bit: float = LINK_PJ_PER_BIT, progress: cache.Progress = cache.no_progress,
) -> dict[str, Any]:
    """Run one inference and return everything that a report shows, as plain values.

    Parameters
    ----------
    model, inputs, preset, config, rounding, progress
        As :func:`~oarlock.gen.runner.run_model` takes them; of the inputs, the first is used.
    table : :class:`~oarlock.gen.energy.EnergyTable`
        In pJ.
    rate : :class:`float`
        Inferences a second, for the battery.
    link_pj_per_bit : :class:`float`
        Energy of a bit that crosses the chip's edge.

    Raises
    ------
    OarlockError
        With a text of one line.
    """
    if table.unit != "pJ":
        raise OarlockError(f"report needs an energy table in pJ, not one in {table.unit}")
    if not rate > 0:
        raise OarlockError(f"rate must be positive, not {rate!r}")
    if not link_pj_per_bit >= 0:
        raise OarlockError(f"link energy must be at least 0 pJ a bit, not {link_pj_per_bit!r}")
    from .tflite_import import load

    network = load(model)
    config = config or load_config(preset)
    x = (random_inputs(network) if inputs is None
         else check_inputs(network, np.asarray(inputs))[:1])
    run = run_model(model, x, preset=preset, config=config, rounding=rounding, progress=progress)
    program = compile_model(model, config, rounding, network=network)
    values = evaluate(network, x, rounding)
    counters, latency = run.report["counters"], run.latency

    layers = []
    total: Counter[str] = Counter()
    for entry, counts in zip(run.layers, layer_counts(program, config), strict=True):
        counts = _completed(network, entry["name"], counts, values)
        total.update(counts)
        layers.append(_layer(entry, counts, config, table))
    picojoules = sum(sum(layer["energy_pj"].values()) for layer in layers)
    ungated = sum(sum(_priced(Counter(layer["counts"]), config, table, gating=False).values())
                  for layer in layers)
    link = _link(program, network, values)
    words = counters["link_words_in"] + counters["link_words_out"]
    joules = picojoules * 1e-12
    link_bits = 8 * (run.report["link_bytes_in"] + run.report["link_bytes_out"])
    link_joules = link_bits * link_pj_per_bit * 1e-12
    both = joules + link_joules
    return {
        "run": run.report, "clock_hz": config.clock_hz, "config": asdict(config),
        "random_input": inputs is None, "layers": layers,
        "checks": [
            {"counter": name, "device": counters[name], "layers": total[name],
             "equal": counters[name] == total[name]}
            for name in counters if name in total and name != "cycles"],
        "latency_s": latency, "link_words": words,
        "latency_with_link_s": (run.cycles + link["raw_words"]) / config.clock_hz,
        "table": asdict(table) | {"costs": dict(table.costs)},
        "energy": {
            "device_j": joules, "device_ungated_j": ungated * 1e-12,
            "link_j": link_joules, "link_pj_per_bit": link_pj_per_bit,
            "total_j": both, "power_w": joules / latency if latency else 0.0,
            "rate": rate, "battery_wh": BATTERY_WH,
            "battery_hours": BATTERY_WH / (both * rate) if both else None,
        },
        "link": link,
        "storage": _storage(config),
        "weights": _sparsity(network),
    }


def _completed(network: Network, name: str, counts: Counter[str], values: Mapping[str, np.ndarray],
               ) -> Counter[str]:
    """Return a layer's counts with those that depend on values."""
    layer = next((layer for layer in network.layers if layer.name == name), None)
    if layer is None or layer.weights is None or not counts["mac_cycles"]:
        return counts
    gated = gated_macs(layer, network.tensors, values[layer.inputs[0]])
    macs = layer.macs(network.tensors)
    return Counter(counts | {"macs_gated": gated, "macs_done": macs - gated})


def _layer(entry: Mapping[str, Any], counts: Counter[str], config: ArrayConfig,
           table: EnergyTable) -> dict[str, Any]:
    """Return what there is to know of a layer."""
    energy = _priced(counts, config, table)
    read = counts["buffer_reads"] * config.word_bytes
    work = counts["mac_cycles"]
    waits = {name: counts[name] for name in ("stall_load", "stall_drain")}
    return dict(entry) | {
        "counts": dict(counts),
        "device_cycles": counts["cycles"],
        "cycles_by_cause": {"MAC": work, **waits,
                            "begin and end": counts["cycles"] - work - sum(waits.values())},
        "energy_pj": {f"{level} {operand}": value for (level, operand), value in energy.items()},
        "buffer_bytes_read": read,
        "macs_per_byte": entry["macs"] / read if read else 0.0,
        "macs_per_cycle": entry["macs"] / counts["cycles"] if counts["cycles"] else 0.0,
    }


def _link(program: Program, network: Network, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return words of activations over the link, raw and run-length coded."""
    from ..sw_driver.run_length import encode

    rows = []
    for step in program.inference:
        if step["do"] not in ("write_box", "read_box"):
            continue
        name = program.host_aliases.get(step["tensor"], step["tensor"])
        data = values[name].reshape(program.host_tensors[step["tensor"]])
        box = tuple(slice(start, end) for start, end in step["box"])
        part = np.ascontiguousarray(data[box]).ravel()
        zero = network.tensors[name].zero_point
        words = np.pad(part, (0, -len(part) % 4), constant_values=zero).view("<u4")
        rows.append({"tensor": name, "direction": "in" if step["do"] == "write_box" else "out",
                     "bytes": part.size, "raw_words": len(words),
                     "coded_words": len(encode(words, zero)),
                     "zeros": float(np.mean(part == zero)) if part.size else 0.0})
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        into = merged.setdefault((row["tensor"], row["direction"]),
                                 row | {"bytes": 0, "raw_words": 0, "coded_words": 0, "pieces": 0,
                                        "zeros": 0.0})
        into["zeros"] = ((into["zeros"] * into["bytes"] + row["zeros"] * row["bytes"])
                         / max(1, into["bytes"] + row["bytes"]))
        for key in ("bytes", "raw_words", "coded_words"):
            into[key] += row[key]
        into["pieces"] += 1
    return {"tensors": list(merged.values()),
            "raw_words": sum(row["raw_words"] for row in rows),
            "coded_words": sum(row["coded_words"] for row in rows)}


def _storage(config: ArrayConfig) -> dict[str, int]:
    """Return bytes on the chip; partial sums have two banks."""
    pe = config.filter_depth + config.ifmap_depth * 9 // 8 + 2 * config.psum_depth * 4
    return {"pe_bytes": pe, "array_bytes": pe * config.pes, "buffer_bytes": config.buffer_bytes,
            "total_bytes": pe * config.pes + config.buffer_bytes
            + 4 * config.program_depth + 12 * config.parameter_depth}


def _sparsity(network: Network) -> dict[str, int]:
    """Return weights and how many of them are zero."""
    weights: Sequence[Layer] = [layer for layer in network.layers if layer.weights is not None]
    return {"count": sum(prod(layer.weights.shape) for layer in weights
                         if layer.weights is not None),
            "zeros": sum(int(np.count_nonzero(layer.weights == 0)) for layer in weights)}

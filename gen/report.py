"""Where cycles and energy of a network go, layer by layer, from one simulated run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..hw import isa
from . import cache
from .config import DEFAULT_PRESET, ArrayConfig, load_config
from .counts import layer_counts
from .energy import EnergyTable, energies
from .errors import OarlockError
from .interpret import evaluate
from .link_words import LinkBox, link_boxes, link_words
from .network import Layer, Network
from .runner import check_inputs, compile_model, random_inputs, run_model
from .value_counts import value_counts


if TYPE_CHECKING:
    from ..sim.reference import Rounding
    from ..sw_driver.program import Program

__all__ = ["BATTERY_WH", "CLOCK_STATED", "LINK_PJ_PER_BIT", "MODELLED", "actions_of", "measure"]

#: Energy of a bit that crosses the chip's edge, unless another is given: DRAM after Horowitz, ISSCC
#: 2014 (1.3 to 2.6 nJ for 64 bits, the lower end). Never added to energy from another source.
LINK_PJ_PER_BIT = 20.0
BATTERY_WH = 10.0
CLOCK_STATED = "what the preset aims at; no place and route was done for this report"

ACTIVATION_BITS, WEIGHT_BITS = 8, 8

#: Counters that the model predicts for every layer.
MODELLED = (
    "mac_cycles", "macs_done", "macs_gated", "stall_load", "stall_drain", "ifmap_beats",
    "ifmap_hops", "ifmap_writes", "ifmap_reads", "filter_hops", "filter_reads", "psum_hops",
    "psum_writes", "psum_reads", "drain_slots", "buffer_reads", "buffer_writes", "outputs",
)


def actions_of(counts: Mapping[str, int], config: ArrayConfig, *, vector: bool = False,
               ) -> dict[tuple[str, str], list[tuple[str, int, int]]]:
    """Return (action, how often, bits) by (level, operand): what :func:`energies` prices.

    Parameters
    ----------
    counts : mapping
        By the names of :data:`~oarlock.hw.isa.COUNTERS`.
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The array.
    vector : :class:`bool`
        The counts are of a layer that runs on the vector unit.
    """
    word, sums = 8 * config.word_bytes, config.psum_width
    found = {
        # Tables have no narrower one: see EnergyTable.cost.
        ("MAC", "MACs"): [("mac_done", counts["macs_done"], 16),
                          ("mac_gated", counts["macs_gated"], 16)],
        # Of the weight-stationary array: filter memories of columns, accumulators.
        ("scratchpad", "ifmap"): [
            ("scratchpad_ifmap", counts["ifmap_writes"] + counts["ifmap_reads"], ACTIVATION_BITS)],
        ("scratchpad", "weight"): [("scratchpad_weight", counts["filter_reads"], WEIGHT_BITS)],
        ("scratchpad", "psum"): [
            ("scratchpad_psum", counts["psum_reads"] + counts["psum_writes"], sums)],
        ("network", "ifmap"): [("array", counts["ifmap_hops"], ACTIVATION_BITS)],
        ("network", "weight"): [("array", counts["filter_hops"], WEIGHT_BITS)],
        ("network", "psum"): [("array", counts["psum_hops"], sums)],
    }
    # Filters and partial sums never are in the global buffer: what is read are inputs of layers,
    # what is written are outputs.
    read = ("buffer", "vector" if vector else "ifmap")
    return found | {
        read: [("buffer_read", counts["buffer_reads"], word)],
        ("buffer", "output"): [("buffer_write", counts["outputs"], ACTIVATION_BITS)],
    }


def _priced(counts: Mapping[str, int], config: ArrayConfig, table: EnergyTable,
            vector: bool) -> dict[tuple[str, str], float]:
    """Return energy by (level, operand), in the table's unit."""
    return {key: sum(sum(energies({key: action}, table).values()) for action in actions)
            for key, actions in actions_of(counts, config, vector=vector).items()}


def measure(
    model: Path, inputs: np.ndarray | None = None, *, table: EnergyTable,
    preset: str = DEFAULT_PRESET, config: ArrayConfig | None = None,
    rounding: Rounding = "single", rate: float = 1.0, link_pj_per_bit: float = LINK_PJ_PER_BIT,
    progress: cache.Progress = cache.no_progress,
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
    run = run_model(model, x, preset=preset, config=config, rounding=rounding, profile=True,
                    progress=progress)
    program = compile_model(model, config, rounding, network=network)
    values = evaluate(network, x, rounding)
    counters, latency = run.report["counters"], run.latency

    predicted = _predicted(network, program, config, values)
    without = _predicted(network, program, replace(config, zero_gating=False), values)
    layers = [
        _layer(entry, expected, config, table)
        for entry, expected in zip(run.layers, predicted, strict=True)]
    picojoules = sum(sum(layer["energy_pj"].values()) for layer in layers)
    ungated = sum(sum(_priced(counts, config, table, layer["runs_on"] == "vector").values())
                  for layer, counts in zip(layers, without, strict=True))
    total: Counter[str] = Counter()
    for counts in predicted:
        total.update({name: counts[name] for name in MODELLED})
    coded = link_boxes(program, network, values, run_length=True)
    crossing = (coded if config.run_length
                else link_boxes(program, network, values, run_length=False))
    total.update(link_words(program, crossing))
    link = _link(coded, config)
    joules = picojoules * 1e-12
    link_bits = 8 * (run.report["link_bytes_in"] + run.report["link_bytes_out"])
    link_joules = link_bits * link_pj_per_bit * 1e-12
    both = joules + link_joules
    return {
        "run": run.report, "clock_hz": config.clock_hz, "config": asdict(config),
        "random_input": inputs is None, "layers": layers,
        "checks": [
            {"counter": name, "device": counters[name], "model": total[name],
             "equal": counters[name] == total[name],
             "layers_equal": all(not layer["wrong"].get(name) for layer in layers)}
            for name in counters if name in total],
        "latency_s": latency,
        "latency_with_link_s": (run.cycles + link["words"]) / config.clock_hz,
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


def _predicted(network: Network, program: Program, config: ArrayConfig,
               values: Mapping[str, np.ndarray]) -> list[Counter[str]]:
    """Return the counts of every layer as the model has them."""
    found = layer_counts(program, config)
    for position, counts in value_counts(network, config, values).items():
        found[position].update(counts)
    return found


def _layer(entry: Mapping[str, Any], predicted: Counter[str], config: ArrayConfig,
           table: EnergyTable) -> dict[str, Any]:
    """Return what there is to know of a layer, from what the device counted while it ran."""
    counts = Counter(entry["counters"])
    energy = _priced(counts, config, table, entry["runs_on"] == "vector")
    read = counts["buffer_reads"] * config.word_bytes
    work, busy = counts["mac_cycles"], counts["busy_cycles"]
    waits = {name: counts[name] for name in ("stall_load", "stall_drain")}
    return dict(entry) | {
        "counters": dict(counts),
        "wrong": {name: predicted[name] - counts[name] for name in MODELLED
                  if predicted[name] != counts[name]},
        "busy_cycles": busy,
        "cycles_by_cause": {"MAC": work, **waits,
                            "begin and end": busy - work - sum(waits.values())},
        "energy_pj": {f"{level} {operand}": value for (level, operand), value in energy.items()},
        "buffer_bytes_read": read,
        "macs_per_byte": entry["macs"] / read if read else 0.0,
        "macs_per_cycle": entry["macs"] / busy if busy else 0.0,
    }


def _link(coded: Sequence[LinkBox], config: ArrayConfig) -> dict[str, Any]:
    """Return words of activations over the link: raw, run-length coded, and as the device does."""
    merged: dict[tuple[str, bool], dict[str, Any]] = {}
    for box in coded:
        into = merged.setdefault((box.tensor, box.to_device), {
            "tensor": box.tensor, "direction": "in" if box.to_device else "out",
            "bytes": 0, "raw_words": 0, "coded_words": 0, "pieces": 0, "zeros": 0})
        for key, value in (("bytes", box.bytes), ("raw_words", box.raw_words), ("zeros", box.zeros),
                           ("coded_words", box.words), ("pieces", box.commands)):
            into[key] += value
    for row in merged.values():
        row["zeros"] /= max(1, row["bytes"])
    raw_words, coded_words = sum(box.raw_words for box in coded), sum(box.words for box in coded)
    return {"tensors": list(merged.values()), "raw_words": raw_words, "coded_words": coded_words,
            "run_length": config.run_length,
            "words": coded_words if config.run_length else raw_words}


def _storage(config: ArrayConfig) -> dict[str, int]:
    """Return bytes on the chip; partial sums have two banks."""
    if config.dataflow_code == isa.Dataflow.ROW_STATIONARY:
        pe = (config.filter_depth + config.ifmap_depth * 9 // 8
              + config.psum_depth * config.psum_width // 4)
    else:
        # The column's memories, shared out.
        pe = config.filter_depth + config.accumulator_depth * config.psum_width // 4 // config.rows
    return {"pe_bytes": pe, "array_bytes": pe * config.pes, "buffer_bytes": config.buffer_bytes,
            "total_bytes": pe * config.pes + config.buffer_bytes
            + 4 * config.program_depth + 12 * config.parameter_depth}


def _sparsity(network: Network) -> dict[str, int]:
    """Return weights and how many of them are zero."""
    weights: Sequence[Layer] = [layer for layer in network.layers if layer.weights is not None]
    return {"count": sum(prod(layer.weights.shape) for layer in weights
                         if layer.weights is not None),
            "zeros": sum(int(np.count_nonzero(layer.weights == 0)) for layer in weights)}

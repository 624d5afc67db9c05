"""The whole line, from a network's file to outputs that were compared with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sim.reference import Rounding
from . import cache, interpret
from .config import DEFAULT_PRESET, ArrayConfig, load_config
from .errors import OarlockError
from .network import Layer, Network
from .targets import open_target, parse_target, preset_on


if TYPE_CHECKING:
    from ..sw_driver.program import Program

__all__ = ["InputError", "RunResult", "check_inputs", "compile_model", "random_inputs",
           "run_model"]

ROUNDINGS = ("single", "double")
SEED = 1


class InputError(OarlockError, ValueError):
    """An input that does not fit the network."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunResult:
    """What a run found.

    Members
    -------
    outputs : array (N, ...)
        The network's outputs, as computed by the device and the host's share.
    bit_exact : :class:`bool`
        Whether every value equals the reference's.
    mismatch : :class:`str` or None
        The first value that does not: where, and both values.
    cycles : :class:`int`
        Device cycles of one inference (of the slowest; they do not depend on the data).
    latency : :class:`float`
        The same in seconds, at the configuration's clock.
    seed : :class:`int` or None
        Seed of the random inputs, if none were given.
    layers : sequence of :class:`dict`
        Those of the report, each with ``runs_on``: array, vector, host or none.
    report : :class:`dict`
        The JSON of ``oarlock run``.
    """

    outputs: np.ndarray
    bit_exact: bool
    mismatch: str | None
    cycles: int
    latency: float
    seed: int | None
    layers: Sequence[dict[str, Any]]
    report: dict[str, Any]


def run_model(
    path: str | Path, inputs: np.ndarray | None = None, *, preset: str | None = None,
    dataflow: str | None = None, rounding: Rounding = "single", target: str = "sim",
    timeout: float | None = None, waves: str | Path | None = None,
    config: ArrayConfig | None = None, profile: bool = False, skip_zeros: bool = False,
    progress: cache.Progress | None = None,
) -> RunResult:
    """Run a network on the accelerator, and compare every output with the numpy reference.

    Parameters
    ----------
    path : :class:`str` or :class:`pathlib.Path`
        An int8 ``.tflite`` file.
    inputs : array (N, ...), optional
        A batch of the model's inputs, in its own type. Random by default, one.
    preset, dataflow : :class:`str`
        The accelerator, by name; ``dataflow`` replaces the preset's. Without either it is
        :data:`~oarlock.gen.config.DEFAULT_PRESET`, or on a port what the device says it is.
    rounding : :data:`oarlock.sim.reference.Rounding`
        Rounding rule of requantizations.
    target : :class:`str`
        ``"sim"`` or ``"serial:PORT[@BAUD]"``.
    timeout : :class:`float`, optional
        Seconds for which nothing may move on a serial port; by default
        :data:`oarlock.sw_driver.serial_transport.TIMEOUT`.
    waves : :class:`str` or :class:`pathlib.Path`, optional
        Where to write the waves of all signals, ``.fst`` or ``.vcd``.
    config : :class:`oarlock.gen.config.ArrayConfig`, optional
        The accelerator itself; ``preset`` then only is its name in the report.
    profile : :class:`bool`
        Run the first input once more, layer by layer, to have the counters of every layer: then
        each of the result's ``layers`` has its ``counters``.
    skip_zeros : :class:`bool`
        Leave out channels that only zero weights read. The report then counts the MACs of the
        others, and has ``macs_skipped``.
    progress : :data:`oarlock.gen.cache.Progress`, optional
        Told what takes its time.

    Raises
    ------
    OarlockError, oarlock.sw_driver.errors.DriverError
        With a text of one line.
    """
    from ..sim.simulator import WAVE_FORMATS
    from ..sw_driver.session import Session
    from .tflite_import import load

    progress = progress or cache.no_progress
    device = parse_target(target, timeout)
    _check_rounding(rounding)
    waves = None if waves is None else Path(waves)
    if waves is not None and waves.suffix not in WAVE_FORMATS:
        raise OarlockError(f"waves must go to a file that ends in {' or '.join(WAVE_FORMATS)}, "
                           f"not {str(waves)!r}")
    if waves is not None and device.port is not None:
        raise OarlockError("waves can only be written by the target sim")
    if config is None and preset is None and dataflow is None and device.port is not None:
        progress("Asking the device what it is", 0, 0)
        preset, config = preset_on(device)
    preset = preset or DEFAULT_PRESET
    if config is None:
        config = load_config(preset, dataflow=dataflow)
    if profile and not config.counters:
        raise OarlockError("the configuration leaves out the counters, which this needs")
    network = load(path)
    seed = SEED if inputs is None else None
    x = random_inputs(network) if inputs is None else check_inputs(network, np.asarray(inputs))
    program = compile_model(path, config, rounding, network=network, skip_zeros=skip_zeros,
                            progress=progress)
    head, tail = _host_layers(network, program)
    device_in = _evaluate(network, head, network.input, x, rounding)

    bound = sum(int(layer["bound_cycles"] or 0) for layer in program.layers)
    cycles = 0
    with (open_target(device, config, waves=waves, progress=progress) as (transport, tell),
          Session(transport, program) as session):
        words = sum(int(step.get("words", 0)) for step in program.setup)
        if device.port is not None:
            tell(lambda moved: progress("Loading the program", min(moved, words), words))
        progress("Loading the program", 0, 0)
        session.load()

        finished = 0
        stage = "Simulating" if device.port is None else "Running"

        def tick(ticks: int) -> None:
            now = min(ticks, bound) if device.port is None else 0
            progress(stage, finished * bound + now, len(x) * bound)

        def finish(_: int) -> None:
            nonlocal finished, cycles
            finished += 1
            cycles = max(cycles, session.last_cycles)
            tick(0)

        tell(tick)
        tick(0)
        outputs = [session.infer_batch(device_in[:1], finish)]
        tell(None)
        counters = session.counters() if config.counters else {"cycles": cycles}
        if len(x) > 1:
            tell(tick)
            outputs.append(session.infer_batch(device_in[1:], finish))
            tell(None)
    layer_counters = {}
    if profile:
        progress("Counting layer by layer", 0, 0)
        profiled = compile_model(path, config, rounding, network=network, profile=True,
                                 skip_zeros=skip_zeros)
        with (open_target(device, config, progress=progress) as (transport, _),
              Session(transport, profiled) as second):
            second.load()
            again = second.infer(device_in[:1])
        layer_counters = second.layer_counters
    progress("Comparing with the reference", 0, 0)
    device_out = np.concatenate(outputs)
    expected = interpret.evaluate(network, x, rounding,
                                  keep={program.output.name, network.output})
    result = _evaluate(network, tail, program.output.name, device_out, rounding)
    mismatch = (_first_difference(program.output.name, device_out, expected)
                or _first_difference(network.output, result, expected))
    if profile and not np.array_equal(again, outputs[0]):
        mismatch = mismatch or "the output is another one when counted layer by layer"

    def utilization(macs: int, cycles: int) -> float:
        return macs / (cycles * config.pes) if cycles else 0.0

    macs = sum(int(layer["macs"]) for layer in program.layers)
    layers = [
        {"name": layer["name"], "op": layer["op"], "macs": layer["macs"], "cycles": spent,
         "bound_cycles": layer["bound_cycles"], "utilization": utilization(layer["macs"], spent),
         "mapping": layer["mapping"]}
        for layer, spent in zip(program.layers, session.layer_cycles, strict=True)]
    report = {
        "model": network.name, "preset": preset, "dataflow": config.dataflow, "rounding": rounding,
        "rows": config.rows, "cols": config.cols, "pes": config.pes, "inferences": len(x),
        "bit_exact": mismatch is None, "cycles": cycles, "bound_cycles": bound,
        "macs": macs, "utilization": utilization(macs, cycles),
        "link_bytes_in": 4 * session.words_sent, "link_bytes_out": 4 * session.words_received,
        "counters": counters, "layers": layers,
    } | ({"macs_skipped": network.macs - macs} if skip_zeros else {})
    return RunResult(
        outputs=result, bit_exact=mismatch is None, mismatch=mismatch, cycles=cycles,
        latency=cycles / config.clock_hz, seed=seed, report=report, layers=[
            entry | {"runs_on": layer["runs_on"]}
            | ({"counters": layer_counters.get(index, {})} if profile else {})
            for index, (entry, layer) in enumerate(zip(layers, program.layers, strict=True))])


def random_inputs(network: Network, count: int = 1, seed: int = SEED) -> np.ndarray:
    """Return inputs that cover the whole int8 range, as floats if the network takes those."""
    tensor = network.tensors[network.input]
    values = np.random.default_rng(seed).integers(-128, 128, (count, *tensor.shape[1:]), np.int8)
    if tensor.dtype == "int8":
        return values
    edge = next(layer for layer in network.layers if network.input in layer.inputs)
    target = network.tensors[edge.output]
    return ((values.astype(np.float32) - target.zero_point) * target.scale).astype(np.float32)


def compile_model(path: str | Path, config: ArrayConfig, rounding: Rounding = "single", *,
                  network: Network | None = None, profile: bool = False, skip_zeros: bool = False,
                  progress: cache.Progress = cache.no_progress) -> Program:
    """Return the program of a network, from the cache if it was compiled before."""
    from ..sw_driver.program import Program

    entry = compiled_file(path, config, rounding, network=network, profile=profile,
                          skip_zeros=skip_zeros, progress=progress)
    return Program.load(entry)


def compiled_file(path: str | Path, config: ArrayConfig, rounding: Rounding, *,
                  network: Network | None = None, profile: bool = False, skip_zeros: bool = False,
                  progress: cache.Progress = cache.no_progress) -> Path:
    """Return the cached program file of a network."""
    from .tflite_import import load

    _check_rounding(rounding)
    network = network or load(path)

    def make(folder: Path) -> None:
        from .program import compile_network

        progress("Compiling the network", 0, 0)
        compile_network(network, config, rounding, profile=profile, skip_zeros=skip_zeros).save(
            folder / "program.npz")

    key = cache.key_of(Path(path).read_bytes(), network.name, config.digest, rounding, profile,
                       skip_zeros)
    return cache.cached("program", key, make, progress=progress,
                        sources=("gen/*.py", "hw/*.py", "sim/*.py")) / "program.npz"


def _check_rounding(rounding: str) -> None:
    if rounding not in ROUNDINGS:
        raise OarlockError(f"rounding must be {' or '.join(ROUNDINGS)}, not {rounding!r}")


def check_inputs(network: Network, x: np.ndarray) -> np.ndarray:
    """Return a batch if it fits the network's input."""
    tensor = network.tensors[network.input]
    if x.dtype != tensor.dtype:
        raise InputError(f"Input must be {tensor.dtype}, as the model's {tensor.name!r} is, "
                         f"not {x.dtype}")
    if x.ndim != len(tensor.shape) or x.shape[1:] != tensor.shape[1:] or not len(x):
        shape = ", ".join(["N", *map(str, tensor.shape[1:])])
        raise InputError(f"Input must have the shape ({shape}), not {x.shape}")
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise InputError("Input must be finite")
    return x


def _host_layers(network: Network, program: Program) -> tuple[list[Layer], list[Layer]]:
    """Return the layers before and after those of the device."""
    producer = {layer.output: layer for layer in network.layers}

    def chain(begin: str, end: str) -> list[Layer]:
        layers: list[Layer] = []
        while end != begin:
            layers.insert(0, producer[end])
            end = producer[end].inputs[0]
        return layers

    return (chain(network.input, program.input.name),
            chain(program.output.name, network.output))


def _evaluate(network: Network, layers: list[Layer], name: str, x: np.ndarray,
              rounding: Rounding) -> np.ndarray:
    """Compute a chain of layers on the host."""
    x = x.reshape(len(x), *network.tensors[name].shape[1:])
    for layer in layers:
        x = interpret.evaluate_layer(layer, network.tensors, [x], rounding)
    return x


def _first_difference(name: str, found: np.ndarray, expected: dict[str, np.ndarray]) -> str | None:
    wanted = expected[name]
    found = found.reshape(wanted.shape)
    wrong = np.argwhere(found != wanted)
    if not len(wrong):
        return None
    first = tuple(map(int, wrong[0]))
    return (f"{name} at {list(first)}: device {found[first]}, reference {wanted[first]} "
            f"({len(wrong)} of {found.size} values differ)")

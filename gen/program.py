"""The compiler: from a network and a configuration to the program that a driver executes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..sim.reference import Rounding
from .config import ArrayConfig
from .conv_shape import conv_shape
from .dataflow import dataflow_of
from .emit import Emitter
from .graph import Graph, image_shape, prepare
from .network import Network
from .plan import plan_memory
from .prune import without_dead_channels
from .residency import LayerPlan, plan_layers
from .sum_width import check_sums


__all__ = ["FORMAT", "VERSION", "Program", "compile_network"]

FORMAT, VERSION = "oarlock-program", 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What a driver needs to run a network.

    Members
    -------
    header : :class:`dict`
        JSON: format, version, digest, config, model, rounding, input, output, host_tensors,
        host_aliases, layers, and the steps ``setup`` and ``inference``.
    words : uint32 array
        Encoded commands, which ``send`` steps refer to.
    """

    header: dict[str, Any]
    words: np.ndarray

    @property
    def setup(self) -> list[dict[str, Any]]:
        """Steps that load what stays on the device."""
        return self.header["setup"]

    @property
    def inference(self) -> list[dict[str, Any]]:
        """Steps of one inference."""
        return self.header["inference"]

    def save(self, path: str | Path) -> None:
        """Write the program file, a zip of two numpy arrays."""
        text = json.dumps(self.header, sort_keys=True, separators=(",", ":")).encode()
        with open(path, "wb") as file:
            np.savez(file, header=np.frombuffer(text, np.uint8), words=self.words)


def compile_network(network: Network, config: ArrayConfig, rounding: Rounding = "single", *,
                    profile: bool = False, skip_zeros: bool = False) -> Program:
    """Compile a network for a configuration.

    Parameters
    ----------
    network : :class:`oarlock.gen.network.Network`
        The network.
    config : :class:`oarlock.gen.config.ArrayConfig`
        The accelerator.
    rounding : :data:`oarlock.sim.reference.Rounding`
        Rounding rule of all requantizations.
    profile : :class:`bool`
        Run layer by layer, and read the counters after each.
    skip_zeros : :class:`bool`
        Leave out channels that only zero weights read; see :mod:`oarlock.gen.prune`.

    Raises
    ------
    oarlock.gen.plan.PlanError
        If a layer cannot be cut small enough for the configuration.
    oarlock.gen.sum_width.SumWidthError
        If a layer's partial sums may not fit.
    """
    if skip_zeros:
        network = without_dead_channels(network)
    graph = prepare(network)
    check_sums(graph, config)
    memory = plan_memory(graph, config)
    plans = plan_layers(graph, memory, config)
    emitter = Emitter(graph, memory, plans, config, rounding, profile=profile)
    setup, inference, words = emitter.emit()
    hosted = {graph.source, graph.target} | {
        step["tensor"] for step in inference if "tensor" in step}
    aliases = {}
    for task in graph.tasks:
        for seen, name in zip(task.layer.inputs, task.inputs, strict=True):
            if seen != name and seen in hosted:
                aliases[seen] = name
    header = {
        "format": FORMAT, "version": VERSION, "digest": f"{config.digest:016x}",
        "config": asdict(config), "model": network.name, "rounding": rounding,
        "input": _tensor(network, graph.input), "output": _tensor(network, graph.output),
        "host_tensors": {name: image_shape(network.tensors[name].shape)
                         for name in sorted(hosted | set(aliases.values()))},
        "host_aliases": aliases,
        "layers": _layers(graph, plans, config), "setup": setup, "inference": inference,
    }
    # Tuples become lists, as a reader of the file has them.
    return Program(header=json.loads(json.dumps(header)), words=words)


def _tensor(network: Network, name: str) -> dict[str, Any]:
    tensor = network.tensors[name]
    return {"name": name, "shape": tensor.shape, "scale": tensor.scale,
            "zero_point": tensor.zero_point}


def _layers(graph: Graph, plans: list[LayerPlan], config: ArrayConfig) -> list[dict[str, Any]]:
    """Describe all layers of the network for people and reports."""
    texts = {plan.tiling.task.position: plan.text for plan in plans}
    return [
        {"name": layer.name, "op": layer.op, "macs": layer.macs(graph.tensors),
         "bound_cycles": (dataflow_of(config).bound_cycles(
              conv_shape(layer, graph.tensors), config)
                          if layer.weights is not None else 0),
         "mapping": texts.get(position, ""), "runs_on": runs_on}
        for position, (layer, runs_on) in enumerate(
            zip(graph.network.layers, graph.runs_on, strict=True))
    ]

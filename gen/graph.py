"""What of a network the device runs, and on which tensors: edges, aliases, fused padding."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .network import Layer, Network, Tensor


__all__ = ["ARRAY_OPS", "Box", "Graph", "Task", "image_shape", "prepare"]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

ARRAY_OPS = ("conv", "depthwise_conv", "fully_connected")
# A descriptor's y_origin has eight bits, and either axis may be its y.
MAX_PADDING = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A layer that the device runs.

    Members
    -------
    layer : :class:`oarlock.gen.network.Layer`
        The layer; padding in front of it is fused into its own.
    position : :class:`int`
        Place in the network's list of layers.
    inputs, output : tuple of :class:`str`, :class:`str`
        Tensors that hold the data: reshapes are names of what they reshape.
    """

    layer: Layer
    position: int
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """The device's part of a network.

    Members
    -------
    network : :class:`oarlock.gen.network.Network`
        All of it.
    tasks : tuple of :class:`Task`
        In execution order.
    input, output : :class:`str`
        Tensors at the ends of the device's part.
    source, target : :class:`str`
        The tensors that hold their data.
    runs_on : tuple of :class:`str`
        ``"array"``, ``"vector"``, ``"host"`` or ``"none"`` for every layer of the network.
    """

    network: Network
    tasks: tuple[Task, ...]
    input: str
    output: str
    source: str
    target: str
    runs_on: tuple[str, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the network."""
        return self.network.tensors


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return a tensor's shape (1, ...) as rows, columns and channels."""
    body = shape[1:]
    if len(body) > 3:
        size = 1
        for n in body:
            size *= n
        body = (size,)
    return (1,) * (3 - len(body)) + body  # type: ignore[return-value]


def prepare(network: Network) -> Graph:
    """Divide a network between host and device, and decide what needs no work."""
    layers = list(network.layers)
    producer = {layer.output: layer for layer in layers}
    runs_on = dict.fromkeys((layer.name for layer in layers), "")

    first = network.input
    for layer in layers:
        if layer.op == "quantize" and layer.inputs == (first,):
            first, runs_on[layer.name] = layer.output, "host"
    last = network.output
    while last != first and producer[last].op in ("softmax", "dequantize", "reshape"):
        runs_on[producer[last].name] = "host"
        last = producer[last].inputs[0]

    needed, wanted = set(), [last]
    while wanted:
        name = wanted.pop()
        if name != first and name not in needed:
            needed.add(name)
            wanted += producer[name].inputs
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.output in needed:
            for name in layer.inputs:
                readers.setdefault(name, []).append(layer)

    # Tensor -> (tensor that holds its data, padding of it that a reader must add).
    storage = {first: first}
    padded: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
    tasks = []
    for position, layer in enumerate(layers):
        if layer.output not in needed or runs_on[layer.name]:
            runs_on[layer.name] = runs_on[layer.name] or "none"
            continue
        source = layer.inputs[0]
        if layer.op == "reshape":
            storage[layer.output] = storage[source]
            runs_on[layer.name] = "none"
            continue
        extra = padded.get(source)
        if extra is not None:
            layer = replace(layer, padding=_sum(layer.padding, extra),
                            inputs=producer[source].inputs)
        if layer.op == "pad" and _fuses(layer, network, readers, last):
            storage[layer.output] = storage[source]
            padded[layer.output] = layer.padding
            runs_on[layer.name] = "none"
            continue
        storage[layer.output] = layer.output
        runs_on[layer.name] = "array" if layer.op in ARRAY_OPS else "vector"
        tasks.append(Task(layer=layer, position=position, output=layer.output,
                          inputs=tuple(storage[name] for name in layer.inputs)))
    return Graph(network=network, tasks=tuple(tasks), input=first, output=last,
                 source=first, target=storage[last],
                 runs_on=tuple(runs_on[layer.name] for layer in layers))


def _sum(a: tuple[tuple[int, int], tuple[int, int]], b: tuple[tuple[int, int], tuple[int, int]],
         ) -> tuple[tuple[int, int], tuple[int, int]]:
    (top, bottom), (left, right) = a
    return (top + b[0][0], bottom + b[0][1]), (left + b[1][0], right + b[1][1])


def _fuses(layer: Layer, network: Network, readers: dict[str, list[Layer]], last: str) -> bool:
    """Return whether all who read a padded tensor can pad it themselves."""
    def takes(reader: Layer) -> bool:
        (top, _), (left, _) = _sum(layer.padding, reader.padding)
        return reader.op in ("conv", "depthwise_conv") and max(top, left) <= MAX_PADDING

    same = (network.tensors[layer.inputs[0]].zero_point
            == network.tensors[layer.output].zero_point)
    return same and layer.output != last and all(takes(r) for r in readers[layer.output])

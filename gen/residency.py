"""Which layers' filters stay in the array, and with which mapping each layer runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .config import ArrayConfig
from .conv_shape import KINDS, variant
from .dataflow import ArrayMapping, dataflow_of
from .graph import ARRAY_OPS, Graph
from .mapping import MappingError
from .plan import (
    MemoryPlan,
    Piece,
    PlanError,
    Tiling,
    filter_unit,
    halves,
    main_shape,
    pieces,
    plan_tiling,
    slice_channels,
)
from .sum_width import Split, narrow_splits
from .tiles import output_shape


__all__ = ["LayerPlan", "plan_layers"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """How one task runs.

    Members
    -------
    tiling : :class:`oarlock.gen.plan.Tiling`
        How it is cut.
    parts : list of :class:`oarlock.gen.plan.Piece`
        Its runs.
    mapping : :class:`oarlock.gen.dataflow.ArrayMapping` or None
        Of the largest part; the others' are adapted from it.
    resident : :class:`bool`
        Its filters stay in the array.
    """

    tiling: Tiling
    parts: list[Piece]
    mapping: ArrayMapping | None
    resident: bool

    @property
    def text(self) -> str:
        """The mapping, and into how much the layer is cut, for people."""
        text = self.mapping.text if self.mapping is not None else ""
        cuts = [f"{len(self.parts)} parts"] if len(self.parts) > 1 else []
        if not self.resident:
            cuts.append("streamed")
        return ", ".join([text] * bool(text) + cuts)


def _kinds(parts: list[Piece]) -> frozenset[str]:
    """Return the forms that are possible for all parts of a layer, which then share filters."""
    shapes = {part.shape for part in parts}
    return frozenset(
        kind for kind in KINDS
        if all(shape is not None and variant(shape, kind) is not None for shape in shapes))


def _splits(graph: Graph, tiling: Tiling, config: ArrayConfig) -> frozenset[Split] | None:
    """Return the splits with which a layer's partial sums fit; see :func:`.narrow_splits`."""
    slices = tuple(span for span, _ in tiling.channel_slices) if tiling.keeps else ()
    return narrow_splits(tiling.task.layer, graph.tensors, config, slices)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Streamed:
    """A way to run a layer whose filters are loaded before each of its parts."""

    tiling: Tiling
    mapping: ArrayMapping
    cost: int


def _streamed(graph: Graph, memory: MemoryPlan, index: int, config: ArrayConfig, region: int,
              ) -> _Streamed | None:
    """Plan a layer whose filters pass through ``region`` entries.

    In half of them filters can be loaded while the part before runs; all of them take fewer parts.
    """
    tiling = plan_tiling(graph, memory, index)
    unit = filter_unit(graph.tasks[index], graph.tensors)
    most = config.parameter_depth
    rooms = region // 2, region
    found: list[_Streamed] = []
    if not tiling.keeps:
        for room in rooms:
            for filters in halves(tiling.step[2], unit):
                if filters > most:
                    continue
                cut = plan_tiling(graph, memory, index, filters=filters)
                way = _way(graph, memory, cut, config, room, overlaps=room < region)
                if way is not None:
                    found.append(way)
                    break
    if not found and graph.tasks[index].layer.op != "depthwise_conv":
        for channels in halves(tiling.channel_slices[0][0][1]):
            for filters in halves(min(tiling.step[2], most)):
                cut = slice_channels(graph, replace(tiling, step=(1, 1, filters)), channels)
                for room in rooms:
                    way = _way(graph, memory, cut, config, room, overlaps=room < region)
                    found += [way] if way is not None else []
                if found:
                    break
            if found:
                break
    return min(found, key=lambda way: way.cost, default=None)


def _way(graph: Graph, memory: MemoryPlan, tiling: Tiling, config: ArrayConfig, room: int, *,
         overlaps: bool) -> _Streamed | None:
    """Return the best mapping for parts whose filters take at most ``room`` entries."""
    parts = pieces(graph, memory, tiling, samples=True)
    try:
        front = dataflow_of(config).search(main_shape(parts), config, max_entries=room,
                                           kinds=_kinds(parts), one_step=tiling.keeps,
                                           splits=_splits(graph, tiling, config))
    except MappingError:
        return None
    height, width, outputs = output_shape(tiling.task, graph.tensors)
    boxes = -(-height // tiling.step[0]) * -(-width // tiling.step[1])
    slices = -(-outputs // tiling.step[2]) * len(tiling.channel_slices)
    runs, loads = boxes * slices, slices * (boxes if tiling.keeps else 1)

    def cost(mapping: ArrayMapping) -> int:
        run, load = mapping.cycles * runs, mapping.image_words * loads
        return max(run, load) if overlaps else run + load

    mapping = min(front, key=cost)
    return _Streamed(tiling=tiling, mapping=mapping, cost=cost(mapping))


def plan_layers(graph: Graph, memory: MemoryPlan, config: ArrayConfig) -> list[LayerPlan]:
    """Choose tilings and mappings such that estimated cycles are least.

    If the filters of all layers fit the scratchpads in some choice of mappings, the fastest such
    choice is taken, by dynamic programming over the entries used. Otherwise a region is set aside
    in which filters are streamed, and the same search decides who stays.
    """
    plans: list[LayerPlan | None] = [None] * len(graph.tasks)
    array = [index for index, task in enumerate(graph.tasks) if task.layer.op in ARRAY_OPS]
    whole: dict[int, LayerPlan] = {}
    fronts: list[list[ArrayMapping]] = []
    for index, task in enumerate(graph.tasks):
        if index not in array:
            tiling = plan_tiling(graph, memory, index)
            plans[index] = LayerPlan(tiling=tiling, parts=pieces(graph, memory, tiling),
                                     mapping=None, resident=True)
            continue
        tiling = plan_tiling(graph, memory, index)
        parts = pieces(graph, memory, tiling)
        whole[index] = LayerPlan(tiling=tiling, parts=parts, mapping=None, resident=True)
        front: list[ArrayMapping] = []
        if (not tiling.keeps and tiling.step[2] == tiling.outputs
                and tiling.outputs <= config.parameter_depth):
            try:
                front = dataflow_of(config).search(
                    main_shape(parts), config, kinds=_kinds(parts),
                    splits=_splits(graph, tiling, config))
            except MappingError:
                pass
        assert task.layer.op in ARRAY_OPS
        fronts.append(front)
    counts = [len(whole[index].parts) for index in array]
    choice = _knapsack([[(m.cycles * count, m.filter_entries) for m in front]
                        for front, count in zip(fronts, counts, strict=True)],
                       config.filter_depth)
    if choice is not None:
        for index, front, pick in zip(array, fronts, choice[1], strict=True):
            plans[index] = replace(whole[index], mapping=front[pick])
    else:
        for index, plan in zip(array, _stream(graph, memory, config, array, whole, fronts),
                               strict=True):
            plans[index] = plan
    return [plan for plan in plans if plan is not None]


def _stream(graph: Graph, memory: MemoryPlan, config: ArrayConfig, array: list[int],
            whole: dict[int, LayerPlan], fronts: list[list[ArrayMapping]]) -> list[LayerPlan]:
    """Plan layers of which some are streamed; try several sizes of the region for that."""
    best: tuple[int, list[ArrayMapping | _Streamed]] | None = None
    depth = config.filter_depth
    for region in (depth // 8, depth // 4, depth // 2, 3 * depth // 4, depth):
        options: list[list[tuple[int, int]]] = []
        choices: list[list[ArrayMapping | _Streamed]] = []
        for index, front in zip(array, fronts, strict=True):
            count = len(whole[index].parts)
            streamed = _streamed(graph, memory, index, config, region)
            options.append([(mapping.cycles * count, mapping.filter_entries) for mapping in front])
            choices.append([*front])
            if streamed is not None:
                options[-1].append((streamed.cost, 0))
                choices[-1].append(streamed)
        found = _knapsack(options, depth - region)
        if found is not None and (best is None or found[0] < best[0]):
            best = found[0], [choice[pick] for choice, pick in zip(choices, found[1], strict=True)]
    if best is None:
        names = ", ".join(graph.tasks[index].layer.name for index, front in
                          zip(array, fronts, strict=True) if not front)
        raise PlanError(f"no mapping for {names}")
    return [
        LayerPlan(tiling=way.tiling, parts=pieces(graph, memory, way.tiling),
                  mapping=way.mapping, resident=False)
        if isinstance(way, _Streamed) else replace(whole[index], mapping=way)
        for index, way in zip(array, best[1], strict=True)
    ]


def _knapsack(options: list[list[tuple[int, int]]], capacity: int,
              ) -> tuple[int, list[int]] | None:
    """Choose one (cost, size) of every list such that sizes fit and the cost is least."""
    far = np.int64(1) << 60
    best = np.zeros(capacity + 1, dtype=np.int64)
    picks = []
    for option in options:
        after = np.full(capacity + 1, far)
        pick = np.zeros(capacity + 1, dtype=np.int64)
        for number, (cost, size) in enumerate(option):
            if size > capacity:
                continue
            total = best[:capacity + 1 - size] + cost
            better = total < after[size:]
            after[size:][better] = total[better]
            pick[size:][better] = number
        best = np.minimum(after, far)
        picks.append(pick)
    if best[-1] >= far:
        return None
    used, chosen = capacity, []
    for option, pick in zip(reversed(options), reversed(picks), strict=True):
        chosen.append(int(pick[used]))
        used -= option[chosen[-1]][1]
    return int(best[capacity]), chosen[::-1]

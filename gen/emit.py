"""From planned layers to commands: what is sent when, and what stays on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..hw import isa
from ..sim.reference import Rounding
from .compact_lower import folded_bias
from .config import ArrayConfig
from .dataflow import dataflow_of
from .graph import Box, Graph, image_shape
from .lower import FilterWrite, parameter_entries
from .plan import MemoryPlan, Piece
from .residency import LayerPlan
from .tiles import piece_weights, requantization, vector_descriptors, whole


__all__ = ["Emitter"]

Interval = tuple[int, int]


@dataclass(kw_only=True)
class _Region:
    """A part of a memory through which things are streamed."""

    start: int
    end: int

    def place(self, size: int, busy: Interval | None) -> tuple[Interval, bool]:
        """Return room for ``size``, beside ``busy`` if possible, and whether it is not."""
        assert self.start + size <= self.end
        if busy is None or busy[0] >= self.end or self.start + size <= busy[0]:
            return (self.start, self.start + size), False
        after = max(self.start, busy[1])
        if after + size <= self.end:
            return (after, after + size), False
        return (self.start, self.start + size), busy[1] > self.start


class _Words:
    """The words of all commands, in the order in which they were appended."""

    def __init__(self) -> None:
        self.count = 0
        self.chunks: list[np.ndarray] = []

    def append(self, words: np.ndarray | list[int]) -> None:
        """Append words."""
        self.chunks.append(np.asarray(words, dtype=np.uint32))
        self.count += len(words)


class _Steps:
    """A list of steps under construction; commands that follow each other become one step."""

    def __init__(self, words: _Words) -> None:
        self.words = words
        self.steps: list[dict[str, Any]] = []

    def command(self, words: list[int], data: np.ndarray | list[int] | None = None) -> None:
        """Append a command that is answered without payload."""
        start = self.words.count
        self.words.append(words)
        if data is not None:
            self.words.append(data)
        last = self.steps[-1] if self.steps else {"do": None}
        if last["do"] != "send" or last["start"] + last["words"] != start:
            self.steps.append({"do": "send", "start": start, "words": 0, "commands": 0})
        self.steps[-1]["words"] += self.words.count - start
        self.steps[-1]["commands"] += 1

    def write(self, memory: isa.Memory, address: int, data: np.ndarray | list[int],
              operand: int = 0) -> None:
        """Append a WRITE."""
        self.command(isa.command(isa.Opcode.WRITE, memory=memory, operand=operand, address=address,
                                 count=len(data)), data)

    def run(self, address: int, count: int) -> None:
        """Append a RUN."""
        self.command(isa.command(isa.Opcode.RUN, address=address, count=count))

    def step(self, do: str, **values: Any) -> None:
        """Append another step."""
        self.steps.append({"do": do, **values})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """One run of a streamed program, or a part of the one run of a resident one."""

    plan: LayerPlan
    part: Piece
    last: bool

    @property
    def filters(self) -> tuple[Any, ...]:
        """What its filters are known by."""
        channels = self.part.channels if self.plan.tiling.keeps else None
        return self.plan.tiling.index, self.part.box[2], channels

    @property
    def parameters(self) -> tuple[Any, ...]:
        """What its parameters are known by."""
        return self.plan.tiling.index, self.part.box[2]


class Emitter:
    """Turns plans into steps.

    Parameters
    ----------
    graph, memory, plans, config, rounding
        What was decided before.
    profile : :class:`bool`
        Run layer by layer, and read the counters after each.
    """

    def __init__(self, graph: Graph, memory: MemoryPlan, plans: list[LayerPlan],
                 config: ArrayConfig, rounding: Rounding, *, profile: bool = False) -> None:
        self.graph, self.memory, self.plans = graph, memory, plans
        self.config, self.rounding, self.profile = config, rounding, profile
        self.words = _Words()
        self.setup, self.inference = _Steps(self.words), _Steps(self.words)
        self.jobs = [_Job(plan=plan, part=part, last=number == len(plan.parts) - 1)
                     for plan in plans for number, part in enumerate(plan.parts)]
        # Where what is resident lies: entries of filters and parameters by layer, program words
        # by job.
        self.filter_base: dict[int, int] = {}
        self.parameter_base: dict[int, int] = {}
        self.filter_region = self._place_filters()
        self.parameter_region = self._place_parameters()
        self.program_base: list[int] | None = None
        self.program_data: list[int] = []
        self.images: dict[Any, list[FilterWrite]] = {}
        self.program_region = _Region(start=0, end=config.program_depth)

    def _place_filters(self) -> _Region:
        base = self.config.filter_depth
        for plan in self.plans:
            if plan.resident and plan.mapping is not None:
                base -= plan.mapping.filter_entries
                self.filter_base[plan.tiling.index] = base
        return _Region(start=0, end=base)

    def _place_parameters(self) -> _Region:
        """Keep the smallest layers' parameters; leave room for the largest part of any other."""
        array = sorted((plan for plan in self.plans if plan.mapping is not None),
                       key=lambda plan: plan.tiling.outputs)
        base = self.config.parameter_depth
        for number, plan in enumerate(array):
            others = max((other.tiling.step[2] for other in array[number + 1:]), default=0)
            if base - plan.tiling.outputs < others:
                break
            base -= plan.tiling.outputs
            self.parameter_base[plan.tiling.index] = base
        return _Region(start=0, end=base)

    def emit(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], np.ndarray]:
        """Return the steps of setup and of an inference, and the words of their commands."""
        lengths = [self._length(job) for job in self.jobs]
        resident = sum(lengths) <= self.config.program_depth
        if resident:
            ends = np.cumsum([0, *lengths]).tolist()
            self.program_base = ends[:-1]
        one_run = (resident and not self.profile and all(
            not job.part.reads and job.part.writes is None
            and (job.plan.mapping is None or (job.plan.tiling.index in self.filter_base
                                              and job.plan.tiling.index in self.parameter_base))
            for job in self.jobs))
        inference, graph = self.inference, self.graph
        if graph.source in self.memory.addresses:
            self._move_whole("write_box", graph.source)
        inference.step("clear")
        if one_run:
            self._emit_one_run()
        else:
            self._emit_runs()
        if graph.target in self.memory.addresses:
            self._move_whole("read_box", graph.target)
        self._emit_setup()
        words = np.concatenate([*self.words.chunks, np.zeros(0, dtype=np.uint32)])
        return self.setup.steps, inference.steps, words

    def _move(self, do: str, name: str, box: Box, address: int) -> None:
        self.inference.step(do, tensor=name, box=box, address=address,
                            zero_point=self.graph.tensors[name].zero_point)

    def _move_whole(self, do: str, name: str) -> None:
        image = image_shape(self.graph.tensors[name].shape)
        self._move(do, name, whole(image), self.memory.addresses[name])

    def _emit_setup(self) -> None:
        """Load what stays."""
        if self.program_data:
            self.setup.write(isa.Memory.PROGRAM, 0, self.program_data)
        for plan in self.plans:
            index, part = plan.tiling.index, plan.parts[0]
            if index in self.parameter_base:
                everything = (0, plan.tiling.outputs)
                self._write_parameters(self.setup, plan, everything, self.parameter_base[index])
            if index in self.filter_base:
                self._write_filters(self.setup, plan, part, self.filter_base[index])

    def _emit_one_run(self) -> None:
        """Run the whole network at once; its layers' ends are read from the descriptors."""
        assert self.program_base is not None
        entries, count = [], 0
        for job, base in zip(self.jobs, self.program_base, strict=True):
            index = job.plan.tiling.index
            descriptors = self._descriptors(
                job, self.filter_base.get(index, 0),
                self.parameter_base.get(index, 0) + job.part.box[2][0])
            for words in descriptors:
                last, base = base, base + len(words)
                self.program_data += words
            count += len(descriptors)
            if job.last:
                entries.append([last + DONE_CYCLE_WORD, job.plan.tiling.task.position])
        if count:
            self.inference.run(0, count)
        self.inference.step("wait", layer=None)
        if entries:
            self.inference.step("timestamps", entries=entries)

    def _emit_runs(self) -> None:
        """Run part by part; the next part's data are sent while the last one runs."""
        steps = self.inference
        # What the run under way may still read, and the layer that ends with it.
        busy: dict[str, Interval] = {}
        running, ends = False, None

        def wait() -> None:
            nonlocal running, ends
            if running:
                steps.step("wait", layer=ends)
                if self.profile and ends is not None:
                    steps.step("counters", layer=ends)
            running, ends = False, None
            busy.clear()

        loaded: dict[str, tuple[Any, Interval]] = {}

        def provide(memory: str, region: _Region, key: Any, size: int) -> tuple[int, bool]:
            """Return where something is or goes, and whether it must be written."""
            if memory in loaded and loaded[memory][0] == key:
                return loaded[memory][1][0], False
            place, conflict = region.place(size, busy.get(memory))
            if conflict:
                wait()
            loaded[memory] = key, place
            return place[0], True

        for number, job in enumerate(self.jobs):
            plan, part = job.plan, job.part
            index = plan.tiling.index
            if part.reads:
                wait()
            for tensor, box, address in part.reads:
                self._move("write_box", tensor, box, address)
            filter_base = self.filter_base.get(index, 0)
            parameter_base = self.parameter_base.get(index, 0) + part.box[2][0]
            if plan.mapping is not None and part.shape is not None:
                if index not in self.filter_base:
                    size = plan.mapping.adapted(part.shape).entries
                    filter_base, new = provide("filter", self.filter_region, job.filters, size)
                    if new:
                        self._write_filters(steps, plan, part, filter_base)
                if index not in self.parameter_base:
                    size = part.box[2][1] - part.box[2][0]
                    parameter_base, new = provide("parameter", self.parameter_region,
                                                  job.parameters, size)
                    if new:
                        self._write_parameters(steps, plan, part.box[2], parameter_base)
            descriptors = self._descriptors(job, filter_base, parameter_base)
            runs = [descriptors] if self.program_base is not None else [[d] for d in descriptors]
            for nth, run in enumerate(runs):
                words = [word for descriptor in run for word in descriptor]
                if self.program_base is not None:
                    address = self.program_base[number]
                    self.program_data += words
                else:
                    address, _ = provide("program", self.program_region, (number, nth), len(words))
                    steps.write(isa.Memory.PROGRAM, address, words)
                if ends is not None:
                    wait()
                steps.run(address, len(run))
                running, ends = True, None
                busy.clear()
                busy.update({memory: place for memory, (_, place) in loaded.items()})
            ends = plan.tiling.task.position if job.last else None
            if part.writes is not None:
                wait()
                self._move("read_box", *part.writes)
        wait()

    def _length(self, job: _Job) -> int:
        """Return the program words of a job."""
        if job.plan.mapping is not None:
            return self.config.descriptor_lengths[dataflow_of(self.config).kind]
        return sum(map(len, self._descriptors(job, 0, 0)))

    def _descriptors(self, job: _Job, filter_base: int, parameter_base: int) -> list[list[int]]:
        """Return the packed descriptors of a job."""
        task, part, tensors = job.plan.tiling.task, job.part, self.graph.tensors
        if job.plan.mapping is None:
            return [isa.pack(isa.VECTOR_FIELDS, fields) for fields in vector_descriptors(
                task, tensors, self.rounding, part.box, part.boxes, part.sources, part.target)]
        assert part.shape is not None
        descriptor = dataflow_of(self.config).lower_conv(
            job.plan.mapping.adapted(part.shape), self.config,
            requantization(task, tensors, self.rounding), in_base=part.sources[0].address,
            out_base=part.target.address, filter_base=filter_base, parameter_base=parameter_base,
            keep=part.keep, hold=part.hold)
        return [descriptor.words()]

    def _write_filters(self, steps: _Steps, plan: LayerPlan, part: Piece, base: int) -> None:
        assert plan.mapping is not None and part.shape is not None
        channels = part.channels if plan.tiling.keeps else None
        key = plan.tiling.index, part.box[2], channels
        if key not in self.images:
            weights = piece_weights(plan.tiling.task, part.box[2], channels)
            self.images[key] = dataflow_of(self.config).filter_writes(
                plan.mapping.adapted(part.shape), self.config, weights)
        for write in self.images[key]:
            steps.write(isa.Memory.FILTER, write.block << 24 | base,
                        write.data.view("<u4").ravel(), operand=write.columns)

    def _write_parameters(self, steps: _Steps, plan: LayerPlan, span: Interval, base: int) -> None:
        layer = plan.tiling.task.layer
        assert (layer.bias is not None and layer.multiplier is not None
                and layer.shift is not None)
        own, bias = slice(*span), layer.bias
        if self.config.compact:
            bias = folded_bias(layer, self.graph.tensors[plan.tiling.task.inputs[0]].zero_point)
        entries = parameter_entries(bias[own], layer.multiplier[own], layer.shift[own])
        words = isa.command(isa.Opcode.WRITE, memory=isa.Memory.PARAMETERS, address=base,
                            count=3 * len(entries))
        steps.command(words, [word for entry in entries for word in entry])


DONE_CYCLE_WORD = isa.field_positions(isa.CONV_FIELDS)["done_cycle"][0] // 32

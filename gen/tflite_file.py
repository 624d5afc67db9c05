"""Reading of TFLite files into plain records that hold no unchecked offsets any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from .errors import ModelError


__all__ = ["RawModel", "RawOperator", "RawTensor", "names_of", "read"]

# Beyond any real network; keeps a damaged count from costing minutes.
MAX_TENSORS = 1 << 16
MAX_OPERATORS = 1 << 16
MAX_RANK = 8
MAX_OPERANDS = 16
MAX_ELEMENTS = 1 << 31

CONSTANT_TYPES: dict[int, Any] = {
    tflite.TensorType.INT8: np.int8,
    tflite.TensorType.INT32: np.int32,
    tflite.TensorType.INT64: np.int64,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class RawTensor:
    """A tensor as it stands in the file.

    Members
    -------
    name : :class:`str`
        As in the file, not necessarily unique.
    shape, signature : tuple of :class:`int`
        Shape; shape signature, in which -1 is unknown (equal to ``shape`` if the file has none).
    type : :class:`int`
        One of ``tflite.TensorType``.
    scales, zero_points : tuple of :class:`float`, tuple of :class:`int`
        Quantization; empty if there is none, one element each or one per slice of ``axis``.
    axis : :class:`int`
        Dimension of the scales when there are several.
    data : array of ``shape``, or None
        Value of an int8, int32 or int64 constant.
    constant : :class:`bool`
        Whether the file holds a value, of whatever type.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: np.ndarray | None
    constant: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class RawOperator:
    """An operator as it stands in the file.

    Members
    -------
    index : :class:`int`
        Position in the file.
    kind : :class:`str`
        Name in the schema, such as ``"CONV_2D"``; ``"CUSTOM (name)"`` for custom operators.
    inputs, outputs : tuple of :class:`int`
        Tensor indices; -1 for an absent optional input.
    options : dict of :class:`str` to number
        Fields of the operator's options table, for the operators that :data:`OPTIONS` knows.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class RawModel:
    """The one subgraph of a file."""

    tensors: tuple[RawTensor, ...]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


# Options table of each operator and the fields to read; absent tables give the schema's defaults.
_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_POOL = (tflite.Pool2DOptions, (*_WINDOW, "FilterHeight", "FilterWidth"))
OPTIONS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "CONV_2D": (tflite.Conv2DOptions, (*_WINDOW, "DilationHFactor", "DilationWFactor")),
    "DEPTHWISE_CONV_2D": (tflite.DepthwiseConv2DOptions,
                          (*_WINDOW, "DilationHFactor", "DilationWFactor", "DepthMultiplier")),
    "FULLY_CONNECTED": (tflite.FullyConnectedOptions,
                        ("FusedActivationFunction", "WeightsFormat", "KeepNumDims")),
    "ADD": (tflite.AddOptions, ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "MEAN": (tflite.ReducerOptions, ("KeepDims",)),
    "SOFTMAX": (tflite.SoftmaxOptions, ("Beta",)),
}


def names_of(enumeration: type) -> dict[int, str]:
    """Map the values of one of tflite's enumeration classes to their names."""
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def read(path: str | Path) -> RawModel:
    """Read a TFLite file.

    Raises
    ------
    ModelError
        If the file cannot be read, is no TFLite file, is damaged, or has not exactly one subgraph.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(f"{path}: cannot be read: {reason}") from error
    except ValueError as error:  # A null character in the name.
        raise ModelError(f"{str(path)!r}: is not a file name") from error
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ModelError(f"{path}: is not a TFLite model")
    try:
        return _Reader(path, content).model()
    except ModelError:
        raise
    # The generated accessors trust every offset in the file. What they raise on a wrong one
    # (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError, ...) is no list to rely
    # on.
    except Exception as error:
        raise ModelError(f"{path}: is damaged or truncated") from error


class _Reader:
    """Walks the tables of one file."""

    def __init__(self, path: str | Path, content: bytes) -> None:
        self.path = path
        self.content = content
        # Valid files share no strings to speak of; damaged ones could point all names at one
        # megabyte.
        self.name_budget = len(content)

    def model(self) -> RawModel:
        root = tflite.Model.GetRootAs(self.content, 0)
        if root.SubgraphsLength() != 1:
            raise ModelError(
                f"{self.path}: has {root.SubgraphsLength()} subgraphs; one is supported")
        graph = root.Subgraphs(0)
        if graph.TensorsLength() > MAX_TENSORS or graph.OperatorsLength() > MAX_OPERATORS:
            raise ModelError(f"{self.path}: is damaged or has too many tensors or operators")
        kinds = [self._kind(root.OperatorCodes(i))
                 for i in range(min(root.OperatorCodesLength(), MAX_OPERATORS))]
        model = RawModel(
            tensors=tuple(self._tensor(root, graph.Tensors(i))
                          for i in range(graph.TensorsLength())),
            operators=tuple(self._operator(i, graph.Operators(i), kinds)
                            for i in range(graph.OperatorsLength())),
            inputs=_integers(graph, "Inputs", MAX_OPERANDS),
            outputs=_integers(graph, "Outputs", MAX_OPERANDS),
        )
        for indices in (model.inputs, model.outputs,
                        *(op.inputs + op.outputs for op in model.operators)):
            if any(not -1 <= index < len(model.tensors) for index in indices):
                raise ModelError(f"{self.path}: is damaged: names a tensor that does not exist")
        return model

    def _kind(self, code: Any) -> str:
        # Codes up to 126 stand in the older 8-bit field, with the newer one zero in old files.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == tflite.BuiltinOperator.CUSTOM:
            return f"CUSTOM ({self._text(code.CustomCode())})"
        return names_of(tflite.BuiltinOperator).get(number, f"number {number}")

    def _text(self, text: bytes | None) -> str:
        self.name_budget -= len(text or b"")
        if self.name_budget < 0:
            raise ValueError("more text than file")
        # Names end up in one-line messages.
        return "".join(c if c.isprintable() else "?" for c in (text or b"").decode("utf-8",
        "replace"))

    def _tensor(self, root: Any, table: Any) -> RawTensor:
        shape = _integers(table, "Shape", MAX_RANK)
        signature = _integers(table, "ShapeSignature", MAX_RANK) or shape
        if min(shape, default=0) < 0 or len(signature) != len(shape):
            raise ValueError("negative size")
        elements = 1
        for size in shape:
            elements *= size
        if elements > MAX_ELEMENTS:
            raise ValueError("too many elements")
        scales: tuple[float, ...] = ()
        zero_points: tuple[int, ...] = ()
        axis = 0
        quantization = table.Quantization()
        if quantization is not None and quantization.ScaleLength():
            # One scale per slice of some dimension at most.
            limit = max(shape, default=1)
            if max(quantization.ScaleLength(), quantization.ZeroPointLength()) > max(limit, 1):
                raise ValueError("more scales than slices")
            scales = tuple(quantization.ScaleAsNumpy().tolist())
            zero_points = _integers(quantization, "ZeroPoint", max(limit, 1))
            axis = quantization.QuantizedDimension()
        data = self._data(root.Buffers(table.Buffer()))
        name = self._text(table.Name())
        if table.Sparsity() is not None:
            raise ModelError(f"{self.path}: tensor {name!r} is sparse, which is not supported")
        kind = CONSTANT_TYPES.get(table.Type())
        value = None
        if data is not None and kind is not None:
            # Little-endian by the format. A view: a damaged file may share one constant a thousand
            # times.
            value = np.frombuffer(data, dtype=np.dtype(kind).newbyteorder("<")).reshape(shape)
        return RawTensor(name=name, shape=shape, signature=signature,
                         type=table.Type(), scales=scales, zero_points=zero_points, axis=axis,
                         data=value, constant=data is not None)

    def _data(self, buffer: Any) -> bytes | np.ndarray | None:
        # Files above 2 GB keep their constants behind the tables: an offset from the file's start.
        if buffer.Offset() > 1:
            end = buffer.Offset() + buffer.Size()
            if end > len(self.content):
                raise ValueError("constant beyond the end")
            return self.content[buffer.Offset():end]
        return buffer.DataAsNumpy() if buffer.DataLength() else None

    def _operator(self, index: int, table: Any, kinds: list[str]) -> RawOperator:
        kind = kinds[table.OpcodeIndex()]
        options: dict[str, Any] = {}
        if kind in OPTIONS:
            options_class, fields = OPTIONS[kind]
            options_table = table.BuiltinOptions()
            reader = options_class()
            if options_table is None:
                raise ModelError(f"{self.path}: operator {index} ({kind}) has no options")
            reader.Init(options_table.Bytes, options_table.Pos)
            options = {field: getattr(reader, field)() for field in fields}
        return RawOperator(index=index, kind=kind, options=options,
                           inputs=_integers(table, "Inputs", MAX_OPERANDS, cut=True),
                           outputs=_integers(table, "Outputs", MAX_OPERANDS, cut=True))


def _integers(table: Any, field: str, limit: int, *, cut: bool = False) -> tuple[int, ...]:
    """Return a vector field of integers, empty if absent, cut or refused beyond ``limit``."""
    length = getattr(table, f"{field}Length")()
    if length > limit and not cut:
        raise ValueError(f"{field} is too long")
    return tuple(getattr(table, f"{field}AsNumpy")()[:limit].tolist()) if length else ()

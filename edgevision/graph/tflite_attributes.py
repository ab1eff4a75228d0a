"""Attributes of TFLite operations, in the names that all formats share.

Fields are rows of a table (name, slot, kind, default of the schema); what depends on the shapes or
constants of the inputs is added by a small function per family of operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgevision.graph.attributes import name_paddings
from edgevision.graph.graph import Tensor
from edgevision.graph.tables import Table
from edgevision.graph.tflite_schema import (
    ACTIVATIONS,
    FUSED_ACTIVATIONS,
    REDUCTIONS,
    TENSOR_TYPES,
)

Inputs = Sequence[Tensor | None]
Attributes = dict[str, Any]
Field = tuple[str, int, str, Any]

_WINDOW: tuple[Field, ...] = (
    ("padding", 0, "b", 0),
    ("stride_w", 1, "i", 0),
    ("stride_h", 2, "i", 0),
)
_ARITHMETIC: tuple[Field, ...] = (("activation", 0, "b", 0),)
_POOL: tuple[Field, ...] = (
    *_WINDOW,
    ("filter_w", 3, "i", 0),
    ("filter_h", 4, "i", 0),
    ("activation", 5, "b", 0),
)
_SUBGRAPH: tuple[Field, ...] = (("subgraph", 0, "i", 0),)

# Name of the operation -> its scalar options.
FIELDS: dict[str, tuple[Field, ...]] = {
    "CONV_2D": (
        *_WINDOW,
        ("activation", 3, "b", 0),
        ("dilation_w", 4, "i", 1),
        ("dilation_h", 5, "i", 1),
    ),
    "DEPTHWISE_CONV_2D": (
        *_WINDOW,
        ("depth_multiplier", 3, "i", 0),
        ("activation", 4, "b", 0),
        ("dilation_w", 5, "i", 1),
        ("dilation_h", 6, "i", 1),
    ),
    "TRANSPOSE_CONV": (*_WINDOW, ("activation", 3, "b", 0)),
    "CONV_3D": (
        ("padding", 0, "b", 0),
        ("stride_d", 1, "i", 0),
        ("stride_w", 2, "i", 0),
        ("stride_h", 3, "i", 0),
        ("activation", 4, "b", 0),
        ("dilation_d", 5, "i", 1),
        ("dilation_w", 6, "i", 1),
        ("dilation_h", 7, "i", 1),
    ),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "L2_POOL_2D": _POOL,
    "FULLY_CONNECTED": (
        ("activation", 0, "b", 0),
        ("weights_format", 1, "b", 0),
        ("keep_dims", 2, "?", False),
    ),
    "ADD": _ARITHMETIC,
    "SUB": _ARITHMETIC,
    "MUL": _ARITHMETIC,
    "DIV": _ARITHMETIC,
    "L2_NORMALIZATION": _ARITHMETIC,
    "SOFTMAX": (("beta", 0, "f", 0.0),),
    "CONCATENATION": (("axis", 0, "i", 0), ("activation", 1, "b", 0)),
    "RESIZE_BILINEAR": (("align_corners", 2, "?", False), ("half_pixel_centers", 3, "?", False)),
    "RESIZE_NEAREST_NEIGHBOR": (
        ("align_corners", 0, "?", False),
        ("half_pixel_centers", 1, "?", False),
    ),
    **dict.fromkeys(REDUCTIONS, (("keep_dims", 0, "?", False),)),
    "STRIDED_SLICE": (
        ("begin_mask", 0, "i", 0),
        ("end_mask", 1, "i", 0),
        ("ellipsis_mask", 2, "i", 0),
        ("new_axis_mask", 3, "i", 0),
        ("shrink_axis_mask", 4, "i", 0),
    ),
    "LEAKY_RELU": (("alpha", 0, "f", 0.0),),
    "GELU": (("approximate", 0, "?", False),),
    "PACK": (("num", 0, "i", 0), ("axis", 1, "i", 0)),
    "UNPACK": (("num", 0, "i", 0), ("axis", 1, "i", 0)),
    "GATHER": (("axis", 0, "i", 0), ("batch_dims", 1, "i", 0)),
    "ONE_HOT": (("axis", 0, "i", 0),),
    "SPLIT": (("num", 0, "i", 0),),
    "SPLIT_V": (("num", 0, "i", 0),),
    "CAST": (("from_type", 0, "b", 0), ("to_type", 1, "b", 0)),
    "ARG_MAX": (("to_type", 0, "b", 0),),
    "ARG_MIN": (("to_type", 0, "b", 0),),
    "BATCH_MATMUL": (("transpose_a", 0, "?", False), ("transpose_b", 1, "?", False)),
    "SPACE_TO_DEPTH": (("block_size", 0, "i", 0),),
    "DEPTH_TO_SPACE": (("block_size", 0, "i", 0),),
    "MIRROR_PAD": (("mode", 0, "b", 0),),
    "CUMSUM": (("exclusive", 0, "?", False), ("reverse", 1, "?", False)),
    "LOCAL_RESPONSE_NORMALIZATION": (
        ("radius", 0, "i", 0),
        ("bias", 1, "f", 0.0),
        ("alpha", 2, "f", 0.0),
        ("beta", 3, "f", 0.0),
    ),
    "LSTM": (("activation", 0, "b", 0), ("cell_clip", 1, "f", 0.0), ("proj_clip", 2, "f", 0.0)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        ("activation", 0, "b", 0),
        ("cell_clip", 1, "f", 0.0),
        ("proj_clip", 2, "f", 0.0),
        ("time_major", 3, "?", False),
    ),
    "IF": (("then_subgraph", 0, "i", 0), ("else_subgraph", 1, "i", 0)),
    "WHILE": (("cond_subgraph", 0, "i", 0), ("body_subgraph", 1, "i", 0)),
    "CALL": _SUBGRAPH,
    "CALL_ONCE": _SUBGRAPH,
}

_MODES = {"RESIZE_BILINEAR": "bilinear", "RESIZE_NEAREST_NEIGHBOR": "nearest"}


def read_attributes(name: str, options: Table | None, inputs: Inputs) -> Attributes:
    """Read and normalize the options of one operation.

    Args:
        name: TFLite name of the operation.
        options: Its builtin options; ``None`` where the file has none.
        inputs: Its input tensors in order, ``None`` for an absent one.
    """
    fields = FIELDS.get(name, ())
    values = {
        key: options.scalar(slot, kind, default) if options is not None else default
        for key, slot, kind, default in fields
    }
    _normalize_codes(values)
    if name in ACTIVATIONS:
        values["activation"] = ACTIVATIONS[name]
    if name in REDUCTIONS:
        values["reduction"] = REDUCTIONS[name]
    if name in _MODES:
        values["mode"] = _MODES[name]
    complete = _COMPLETIONS.get(name)
    if complete is not None:
        complete(values, options, inputs)
    return values


def _normalize_codes(values: Attributes) -> None:
    """Replace the schema's numbers by names, and width/height pairs by tuples."""
    if "padding" in values:
        values["padding"] = "valid" if values["padding"] == 1 else "same"
    if "activation" in values:
        activation = FUSED_ACTIVATIONS.get(values.pop("activation"))
        if activation is not None:
            values["activation"] = activation
    for key in ("from_type", "to_type"):
        if key in values:
            values[key] = TENSOR_TYPES.get(values[key], (str(values[key]), ""))[0]
    for pair, field in (("strides", "stride"), ("dilations", "dilation"), ("kernel", "filter")):
        axes = [f"{field}_{axis}" for axis in "dhw" if f"{field}_{axis}" in values]
        if axes:
            values[pair] = tuple(values.pop(axis) for axis in axes)


def _shape(inputs: Inputs, position: int) -> tuple[int, ...]:
    tensor = inputs[position] if position < len(inputs) else None
    return tensor.shape if tensor is not None else ()


def _constant(inputs: Inputs, position: int) -> tuple[int, ...] | None:
    """Return a small integer constant input as a flat tuple, ``None`` where it is computed."""
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.data is None or tensor.dtype not in ("int32", "int64"):
        return None
    return tuple(int(v) for v in tensor.data.ravel()) if tensor.data.size <= 64 else None


def _complete_conv(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
    image, weights = _shape(inputs, 0), _shape(inputs, 1)
    values["kernel"] = weights[1:3]
    shapes_known = len(image) == 4 and len(weights) == 4 and weights[3] > 0 and image[3] > 0
    values["groups"] = max(image[3] // weights[3], 1) if shapes_known else 1


def _complete_depthwise(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
    image, weights = _shape(inputs, 0), _shape(inputs, 1)
    values["kernel"] = weights[1:3]
    filters = weights[3] if len(weights) == 4 else 1
    if len(image) == 4 and image[3] > 0:
        # Old files leave the field at 0; the shapes always tell.
        values["depth_multiplier"] = filters // image[3]
    values["groups"] = filters // max(values["depth_multiplier"], 1)


def _complete_transpose_conv(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
    values["kernel"] = _shape(inputs, 1)[1:3]
    values["dilations"] = (1, 1)
    values["groups"] = 1


def _complete_conv_3d(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
    values["kernel"] = _shape(inputs, 1)[:3]
    values["groups"] = 1


def _complete_pool(values: Attributes, _options: Table | None, _inputs: Inputs) -> None:
    values["dilations"] = (1, 1)


def _complete_reshape(values: Attributes, options: Table | None, inputs: Inputs) -> None:
    shape = _constant(inputs, 1)
    if shape is None and options is not None:
        shape = tuple(options.numbers(0, "<i4").tolist()) or None
    if shape is not None:
        values["shape"] = shape


def _complete_squeeze(values: Attributes, options: Table | None, _inputs: Inputs) -> None:
    values["axes"] = tuple(options.numbers(0, "<i4").tolist()) if options is not None else ()


def _complete_mirror_pad(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
    values["mode"] = "symmetric" if values["mode"] == 1 else "reflect"
    _complete_pad(values, _options, inputs)


def _complete_pad(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
    pairs = _constant(inputs, 1)
    if pairs is not None:
        values.update(name_paddings(pairs, first=1))


def _complete_softmax(values: Attributes, _options: Table | None, _inputs: Inputs) -> None:
    values["axis"] = -1


def _from_constants(**positions: int) -> Callable[[Attributes, Table | None, Inputs], None]:
    """Make a completion that takes attributes from constant inputs, where they are constant."""

    def complete(values: Attributes, _options: Table | None, inputs: Inputs) -> None:
        for key, position in positions.items():
            constant = _constant(inputs, position)
            if constant is not None:
                single = key == "axis" and len(constant) == 1
                values[key] = constant[0] if single else constant

    return complete


_COMPLETIONS: dict[str, Callable[[Attributes, Table | None, Inputs], None]] = {
    "CONV_2D": _complete_conv,
    "DEPTHWISE_CONV_2D": _complete_depthwise,
    "TRANSPOSE_CONV": _complete_transpose_conv,
    "CONV_3D": _complete_conv_3d,
    "AVERAGE_POOL_2D": _complete_pool,
    "MAX_POOL_2D": _complete_pool,
    "L2_POOL_2D": _complete_pool,
    "RESHAPE": _complete_reshape,
    "SQUEEZE": _complete_squeeze,
    "MIRROR_PAD": _complete_mirror_pad,
    **{name: _from_constants(axes=1) for name in REDUCTIONS},
    "EXPAND_DIMS": _from_constants(axis=1),
    "ARG_MAX": _from_constants(axis=1),
    "ARG_MIN": _from_constants(axis=1),
    "SPLIT": _from_constants(axis=0),
    "SPLIT_V": _from_constants(sizes=1, axis=2),
    "PAD": _complete_pad,
    "PADV2": _complete_pad,
    "SOFTMAX": _complete_softmax,
    "LOG_SOFTMAX": _complete_softmax,
    "TRANSPOSE": _from_constants(permutation=1),
    "RESIZE_BILINEAR": _from_constants(size=1),
    "RESIZE_NEAREST_NEIGHBOR": _from_constants(size=1),
    "SLICE": _from_constants(begin=1, size=2),
    "STRIDED_SLICE": _from_constants(begin=1, end=2, strides=3),
    "SPACE_TO_BATCH_ND": _from_constants(block_shape=1, paddings=2),
    "BATCH_TO_SPACE_ND": _from_constants(block_shape=1, crops=2),
}

"""Attributes of ONNX operations, in the names that all formats share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgevision.graph.attributes import name_paddings
from edgevision.graph.graph import Tensor
from edgevision.graph.onnx_tables import ACTIVATIONS, REDUCTIONS
from edgevision.graph.ops import OpKind

Attributes = dict[str, Any]
Inputs = Sequence[Tensor | None]
Completion = Callable[[Mapping[str, Any], Inputs], Attributes]

# Longer lists are data, not settings.
_MAX_VALUES = 64


def normalize_attributes(
    name: str, kind: OpKind, raw: Mapping[str, Any], inputs: Inputs
) -> Attributes:
    """Translate the attributes of a node.

    Args:
        name: ONNX name of the operator.
        kind: What it computes.
        raw: Attributes as in the file.
        inputs: Its input tensors in order, ``None`` for an absent one.

    Returns:
        Shared names where there are some; all other attributes as they are in the file.
    """
    values = dict(raw)
    complete = _COMPLETIONS_BY_NAME.get(name) or _COMPLETIONS.get(kind)
    if complete is not None:
        values.update(complete(raw, inputs))
        for key in _REPLACED.intersection(values):
            del values[key]
    if name in ACTIVATIONS and "activation" not in values:
        values["activation"] = ACTIVATIONS[name]
    if name in REDUCTIONS:
        values["reduction"] = REDUCTIONS[name]
    return values


# ONNX names of what the shared attributes say.
_REPLACED = frozenset(
    {
        *("kernel_shape", "pads", "auto_pad", "group", "transA", "transB", "perm", "keepdims"),
        "coordinate_transformation_mode",
    }
)


def find_weights(name: str) -> int:
    """Return the position of the weights among the inputs of a convolution."""
    return 3 if name == "QLinearConv" else 1


def is_depthwise(raw: Mapping[str, Any], weights: Tensor | None) -> bool:
    """Whether a convolution has one filter group per input channel."""
    group = int(raw.get("group", 1))
    return group > 1 and weights is not None and len(weights.shape) > 1 and weights.shape[1] == 1


def _complete_conv(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    kernel = raw.get("kernel_shape") or _weight_shape(inputs)[2:]
    values = _read_window(raw, tuple(kernel), inputs)
    return {**values, "groups": int(raw.get("group", 1)), "channel_axis": 1}


def _weight_shape(inputs: Inputs) -> tuple[int, ...]:
    # The first tensor of the data's rank behind the data; QLinearConv has scales in between.
    rank = len(inputs[0].shape) if inputs and inputs[0] is not None else 4
    shapes = (t.shape for t in inputs[1:] if t is not None and len(t.shape) == rank)
    return next(shapes, ())


def _complete_pool(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    return {**_read_window(raw, tuple(raw.get("kernel_shape", ())), inputs), "channel_axis": 1}


def _read_window(raw: Mapping[str, Any], kernel: tuple[int, ...], inputs: Inputs) -> Attributes:
    """Read a sliding window; a 1-D one becomes 2-D with height 1."""
    rank = max(len(kernel), 1)
    strides = tuple(raw.get("strides") or (1,) * rank)
    dilations = tuple(raw.get("dilations") or (1,) * rank)
    pads = tuple(raw.get("pads") or (0,) * 2 * rank)
    padding: str | tuple[int, ...] = "valid"
    auto = raw.get("auto_pad", "NOTSET")
    if auto == "SAME_UPPER":
        padding = "same"
    elif auto == "SAME_LOWER":
        spatial = inputs[0].shape[2:] if inputs and inputs[0] is not None else ()
        padding = _pad_lower(spatial, kernel, strides, dilations)
    elif auto != "VALID" and any(pads):
        padding = _interleave(pads, rank)
    lift = (1,) if rank == 1 else ()
    return {
        "kernel": lift + kernel,
        "strides": lift + strides,
        "dilations": lift + dilations,
        "padding": padding,
    }


def _interleave(pads: Sequence[int], rank: int) -> tuple[int, ...]:
    """Turn ONNX's (begins …, ends …) into (top, bottom, left, right)."""
    pairs = tuple(p for axis in range(rank) for p in (pads[axis], pads[axis + rank]))
    return (0, 0, *pairs) if rank == 1 else pairs


def _pad_lower(
    spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    """Spell out SAME padding whose odd row stands at the beginning."""
    begins, ends = [], []
    for size, window, stride, dilation in zip(spatial, kernel, strides, dilations, strict=False):
        total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        begins.append(total - total // 2)
        ends.append(total // 2)
    return _interleave((*begins, *ends), len(begins)) if begins else ()


def _complete_global_pool(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    rank = len(inputs[0].shape) if inputs and inputs[0] is not None else 4
    return {"axes": tuple(range(2, rank)), "keep_dims": True, "channel_axis": 1}


def _complete_reduce(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    axes = tuple(raw.get("axes") or _constant(inputs, 1) or ())
    return {"axes": axes, "keep_dims": bool(raw.get("keepdims", 1))}


def _complete_gemm(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    return {
        "transpose_a": bool(raw.get("transA", 0)),
        "transpose_b": bool(raw.get("transB", 0)),
    }


def _complete_clip(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    low, high = raw.get("min"), raw.get("max")
    low = _number(inputs, 1) if low is None else float(low)
    high = _number(inputs, 2) if high is None else float(high)
    known = {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1", (0.0, 1.0): "relu_0_to_1"}
    if low == 0.0 and high is None:
        return {"activation": "relu"}
    return {"activation": known.get((low, high), "clip"), "min": low, "max": high}  # type: ignore[arg-type]


def _complete_axes(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    axes = raw.get("axes") or _constant(inputs, 1)
    return {} if axes is None else {"axes": tuple(axes)}


def _complete_reshape(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    shape = raw.get("shape") or _constant(inputs, 1)
    return {} if shape is None else {"shape": tuple(shape)}


def _complete_transpose(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    rank = len(inputs[0].shape) if inputs and inputs[0] is not None else 0
    return {"permutation": tuple(raw.get("perm") or range(rank - 1, -1, -1))}


def _complete_pad(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    pads = raw.get("pads") or raw.get("paddings") or _constant(inputs, 1)
    if not pads:
        return {}
    rank = len(pads) // 2
    pairs = [p for axis in range(rank) for p in (pads[axis], pads[axis + rank])]
    return {**name_paddings(pairs, first=2), "channel_axis": 1}


def _complete_resize(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    mode = raw.get("mode", "nearest")
    centers = raw.get("coordinate_transformation_mode", "half_pixel")
    return {
        "mode": "bilinear" if mode == "linear" else mode,
        "half_pixel_centers": centers in ("half_pixel", "pytorch_half_pixel"),
        "align_corners": centers == "align_corners",
        "channel_axis": 1,
    }


def _complete_upsample(raw: Mapping[str, Any], inputs: Inputs) -> Attributes:
    """Read the operator before ``Resize``, which had no choice of coordinates."""
    return _complete_resize({**raw, "coordinate_transformation_mode": "asymmetric"}, inputs)


def _constant(inputs: Inputs, position: int) -> tuple[int, ...] | None:
    """Return a small integer constant input, ``None`` where it is computed."""
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.data is None or tensor.dtype not in ("int32", "int64"):
        return None
    return tuple(int(v) for v in tensor.data.ravel()) if tensor.data.size <= _MAX_VALUES else None


def _number(inputs: Inputs, position: int) -> float | None:
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.data is None or tensor.data.size != 1:
        return None
    return float(tensor.data.ravel()[0])


_COMPLETIONS: Mapping[OpKind, Completion] = {
    OpKind.CONV_2D: _complete_conv,
    OpKind.DEPTHWISE_CONV_2D: _complete_conv,
    OpKind.CONV_3D: _complete_conv,
    OpKind.TRANSPOSE_CONV_2D: _complete_conv,
    OpKind.MAX_POOL: _complete_pool,
    OpKind.AVERAGE_POOL: _complete_pool,
    OpKind.GLOBAL_POOL: _complete_global_pool,
    OpKind.REDUCE: _complete_reduce,
    OpKind.FULLY_CONNECTED: _complete_gemm,
    OpKind.TRANSPOSE: _complete_transpose,
    OpKind.PAD: _complete_pad,
    OpKind.RESIZE: _complete_resize,
}
_COMPLETIONS_BY_NAME: Mapping[str, Completion] = {
    "Clip": _complete_clip,
    "Squeeze": _complete_axes,
    "Unsqueeze": _complete_axes,
    "Reshape": _complete_reshape,
    "FusedMatMul": _complete_gemm,
    "Upsample": _complete_upsample,
}

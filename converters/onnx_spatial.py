"""Convolutions, pools, padding and resizing of ONNX in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.converters.onnx_values import Value, map_rows, require, require_constant
from edgevision.errors import UnsupportedOpError

Attributes = Mapping[str, Any]
Builder = Callable[[Sequence[Value | None], Attributes], list[Value]]
_SPATIAL = 2


def _require_2d(kernel: Sequence[int]) -> None:
    if len(kernel) != _SPATIAL:
        raise UnsupportedOpError(
            "only two-dimensional convolutions and pools are converted",
            received=f"kernel_shape={list(kernel)}",
        )


def _plan_padding(
    size: Sequence[int], kernel: Sequence[int], attributes: Attributes
) -> tuple[str, list[tuple[int, int]]]:
    """Return TensorFlow's padding and what to pad before it, ((top, bottom), (left, right))."""
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    totals = [
        max((-(-n // s) - 1) * s + span - n, 0)
        for n, s, span in zip(size, strides, spans, strict=True)
    ]
    same = [(t // 2, t - t // 2) for t in totals]
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic == "VALID":
        return "VALID", [(0, 0), (0, 0)]
    if automatic == "SAME_LOWER":
        return "VALID", [(t - t // 2, t // 2) for t in totals]
    flat = attributes.get("pads", [0, 0, 0, 0])
    pads = same if automatic == "SAME_UPPER" else [(flat[0], flat[2]), (flat[1], flat[3])]
    if pads == same and any(totals):
        return "SAME", [(0, 0), (0, 0)]
    return "VALID", pads


def _pad_image(tf: Any, image: Any, pads: Sequence[tuple[int, int]], fill: float = 0.0) -> Any:
    if not np.any(pads):
        return image
    return tf.pad(image, [(0, 0), *pads, (0, 0)], constant_values=fill)


def build_conv(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """Conv: plain, depthwise or grouped."""
    tf = import_backend("tensorflow")
    source, weights = require(inputs, 0), require_constant(inputs, 1, "weights")
    _require_2d(weights.shape[2:])
    padding, pads = _plan_padding(source.shape[2:], weights.shape[2:], attributes)
    image = _pad_image(tf, source.last(), pads)
    how = {
        "strides": list(attributes.get("strides", [1, 1])),
        "dilations": list(attributes.get("dilations", [1, 1])),
        "padding": padding,
    }
    groups, channels = attributes.get("group", 1), source.shape[1]
    if groups == 1:
        result = _convolve(tf, image, weights, how)
    elif groups == channels:
        result = _convolve_depthwise(tf, image, weights, how)
    else:
        parts = zip(tf.split(image, groups, axis=3), np.split(weights, groups), strict=True)
        result = tf.concat([_convolve(tf, part, w, how) for part, w in parts], axis=3)
    if len(inputs) > _SPATIAL and inputs[2] is not None:
        result = result + require_constant(inputs, 2, "the bias")
    return [Value(result, channels_last=True)]


def _convolve(tf: Any, image: Any, weights: Any, how: Mapping[str, Any]) -> Any:
    return tf.nn.conv2d(image, weights.transpose(2, 3, 1, 0), **how)


def _convolve_depthwise(tf: Any, image: Any, weights: Any, how: Mapping[str, Any]) -> Any:
    if how["strides"][0] != how["strides"][1]:
        raise UnsupportedOpError(
            "depthwise convolutions need equal strides", received=f"strides={how['strides']}"
        )
    channels = int(image.shape[3])
    per_channel = weights.reshape(channels, -1, *weights.shape[2:]).transpose(2, 3, 0, 1)
    return tf.nn.depthwise_conv2d(
        image,
        per_channel,
        strides=[1, *how["strides"], 1],
        padding=how["padding"],
        dilations=how["dilations"],
    )


def build_conv_transpose(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """ConvTranspose with one group: computed whole, then cropped by the pads."""
    tf = import_backend("tensorflow")
    source, weights = require(inputs, 0), require_constant(inputs, 1, "weights")
    _require_2d(weights.shape[2:])
    dilated = list(attributes.get("dilations", [1, 1])) != [1, 1]
    automatic = attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if attributes.get("group", 1) != 1 or dilated or automatic or "output_shape" in attributes:
        raise UnsupportedOpError(
            "ConvTranspose is converted with one group, without dilation, with explicit pads",
            received=dict(attributes),
        )
    strides, extra = attributes.get("strides", [1, 1]), attributes.get("output_padding", [0, 0])
    whole = [
        (n - 1) * s + k
        for n, s, k in zip(source.shape[2:], strides, weights.shape[2:], strict=True)
    ]
    result = tf.nn.conv2d_transpose(
        source.last(),
        weights.transpose(2, 3, 1, 0),
        output_shape=[source.shape[0], *whole, weights.shape[1]],
        strides=strides,
        padding="VALID",
    )
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    result = _pad_image(tf, result, [(0, extra[0]), (0, extra[1])])
    height, width = whole[0] + extra[0] - bottom, whole[1] + extra[1] - right
    result = result[:, top:height, left:width, :]
    if len(inputs) > _SPATIAL and inputs[2] is not None:
        result = result + require_constant(inputs, 2, "the bias")
    return [Value(result, channels_last=True)]


def build_max_pool(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """MaxPool."""
    tf = import_backend("tensorflow")
    source, kernel = require(inputs, 0), attributes["kernel_shape"]
    _check_pool(source, kernel, attributes)
    padding, pads = _plan_padding(source.shape[2:], kernel, attributes)
    image = _pad_image(tf, source.last(), pads, fill=float(np.finfo(np.float32).min))
    strides = attributes.get("strides", [1, 1])
    return [Value(tf.nn.max_pool2d(image, kernel, strides, padding), channels_last=True)]


def build_average_pool(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """AveragePool, with the padding counted or not."""
    tf = import_backend("tensorflow")
    source, kernel = require(inputs, 0), attributes["kernel_shape"]
    _check_pool(source, kernel, attributes)
    strides = attributes.get("strides", [1, 1])
    counted = bool(attributes.get("count_include_pad", 0))
    padding, pads = _plan_padding(source.shape[2:], kernel, attributes)
    if padding == "SAME" and counted:
        padding, pads = "VALID", _explicit_pads(attributes)
    image = source.last()
    result = tf.nn.avg_pool2d(_pad_image(tf, image, pads), kernel, strides, padding)
    if np.any(pads) and not counted:
        # The share of each window that lies on the image.
        ones = np.ones((1, *source.shape[2:], 1), np.float32)
        share = tf.nn.avg_pool2d(_pad_image(tf, ones, pads), kernel, strides, padding)
        result = result / share
    return [Value(result, channels_last=True)]


def _explicit_pads(attributes: Attributes) -> list[tuple[int, int]]:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return [(top, bottom), (left, right)]


def _check_pool(source: Value, kernel: Sequence[int], attributes: Attributes) -> None:
    _require_2d(kernel)
    if list(attributes.get("dilations", [1, 1])) != [1, 1]:
        raise UnsupportedOpError("dilated pools are not converted", received=dict(attributes))
    if not attributes.get("ceil_mode", 0):
        return
    pads, strides = _explicit_pads(attributes), attributes.get("strides", [1, 1])
    sizes = zip(source.shape[2:], pads, kernel, strides, strict=True)
    if any((n + sum(pad) - k) % s for n, pad, k, s in sizes):
        raise UnsupportedOpError(
            "pools that round their output size up are not converted", received="ceil_mode=1"
        )


def build_global_pool(reduce: str) -> Builder:
    """GlobalAveragePool and GlobalMaxPool."""

    def build(inputs: Sequence[Value | None], _attributes: Attributes) -> list[Value]:
        function = getattr(import_backend("tensorflow"), reduce)
        return [Value(function(require(inputs, 0).last(), axis=[1, 2], keepdims=True), True)]

    return build


def build_pad(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """Pad by a constant or by reflection."""
    tf = import_backend("tensorflow")
    source, mode = require(inputs, 0), attributes.get("mode", "constant")
    flat = attributes["pads"] if "pads" in attributes else require_constant(inputs, 1, "the pads")
    if mode not in ("constant", "reflect") or min(flat) < 0:
        raise UnsupportedOpError("this way of padding is not converted", received=f"mode={mode}")
    rank = source.rank
    pads = map_rows([(int(flat[i]), int(flat[i + rank])) for i in range(rank)], source)
    fill = attributes.get("value", 0.0)
    if len(inputs) > 2 and inputs[2] is not None:
        fill = float(np.ravel(require_constant(inputs, 2, "the fill value"))[0])
    padded = tf.pad(source.data, pads, mode=mode.upper(), constant_values=fill)
    return [Value(padded, source.channels_last)]


def build_resize(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """Resize: nearest and linear, in the coordinate systems that TensorFlow knows."""
    tf = import_backend("tensorflow")
    source, size = require(inputs, 0), attributes["result_shape"][2:]
    mode = attributes.get("mode", "nearest")
    system = attributes.get("coordinate_transformation_mode", "half_pixel")
    functions = {"nearest": "ResizeNearestNeighbor", "linear": "ResizeBilinear"}
    known = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    if (
        mode not in functions
        or system not in known
        or source.shape[:2] != attributes["result_shape"][:2]
    ):
        raise UnsupportedOpError(
            "this way of resizing is not converted", received=f"mode={mode}, {system}"
        )
    resize = getattr(tf.raw_ops, functions[mode])
    result = resize(
        images=source.last(),
        size=np.array(size, np.int32),
        align_corners=system == "align_corners",
        half_pixel_centers=system.endswith("half_pixel"),
    )
    return [Value(result, channels_last=True)]


SPATIAL_BUILDERS: Mapping[str, Builder] = {
    "Conv": build_conv,
    "ConvTranspose": build_conv_transpose,
    "MaxPool": build_max_pool,
    "AveragePool": build_average_pool,
    "GlobalAveragePool": build_global_pool("reduce_mean"),
    "GlobalMaxPool": build_global_pool("reduce_max"),
    "Pad": build_pad,
    "Resize": build_resize,
}

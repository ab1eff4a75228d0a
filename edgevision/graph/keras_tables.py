"""What each Keras layer and operation is in the shared vocabulary, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgevision.graph.attributes import name_paddings
from edgevision.graph.ops import OpKind

# Names of layer classes and of the operation classes behind ``keras.ops``.
_NAMES: Mapping[OpKind, str] = {
    OpKind.CONV_2D: "Conv1D Conv2D",
    OpKind.CONV_3D: "Conv3D",
    OpKind.DEPTHWISE_CONV_2D: "DepthwiseConv1D DepthwiseConv2D",
    OpKind.TRANSPOSE_CONV_2D: "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    OpKind.FULLY_CONNECTED: "Dense",
    OpKind.MATMUL: "EinsumDense Matmul Einsum",
    OpKind.BATCH_NORM: "BatchNormalization",
    OpKind.LSTM: "LSTM",
    OpKind.ADD: "Add",
    OpKind.SUB: "Subtract",
    OpKind.MUL: "Multiply",
    OpKind.DIV: "Divide TrueDivide",
    OpKind.SOFTMAX: "Softmax LogSoftmax",
    OpKind.MAX_POOL: "MaxPooling1D MaxPooling2D MaxPooling3D MaxPool",
    OpKind.AVERAGE_POOL: "AveragePooling1D AveragePooling2D AveragePooling3D AveragePool",
    OpKind.GLOBAL_POOL: (
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D"
        " GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D"
    ),
    OpKind.REDUCE: "Mean Max Min Sum Prod Any All",
    OpKind.CONCAT: "Concatenate Stack",
    OpKind.SPLIT: "Split Unstack",
    OpKind.SLICE: "Cropping1D Cropping2D Cropping3D CenterCrop GetItem Slice",
    OpKind.GATHER: "Embedding Take TakeAlongAxis",
    OpKind.PAD: "ZeroPadding1D ZeroPadding2D ZeroPadding3D Pad",
    OpKind.RESHAPE: "Reshape Flatten Squeeze ExpandDims",
    OpKind.TRANSPOSE: "Permute Transpose Moveaxis Swapaxes",
    OpKind.RESIZE: "Resizing UpSampling1D UpSampling2D UpSampling3D Resize",
    OpKind.CAST: "Cast",
    OpKind.ARG_MAX: "Argmax Argmin",
    OpKind.ELEMENTWISE: (
        "Rescaling Normalization Maximum Minimum Average Power Exp Log Sqrt Square Absolute"
        " Negative Clip Floor Round Greater Less Equal Where Reciprocal Rsqrt"
    ),
    OpKind.ACTIVATION: "Activation",
}
# Layers and operations that are one activation function.
ACTIVATIONS: Mapping[str, str] = {
    "ReLU": "relu",
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyReLU": "leaky_relu",
    "LeakyRelu": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Elu": "elu",
    "Selu": "selu",
    "Gelu": "gelu",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_swish",
    "HardSwish": "hard_swish",
    "Silu": "swish",
    "Tanh": "tanh",
    "HardTanh": "relu_n1_to_1",
    "Softplus": "softplus",
    "Softsign": "softsign",
}
# Functions whose Keras name differs from the shared one.
_FUNCTION_NAMES = {
    "hard_silu": "hard_swish",
    "silu": "swish",
    "hard_tanh": "relu_n1_to_1",
}
KINDS: Mapping[str, OpKind] = {
    **{name: kind for kind, names in _NAMES.items() for name in names.split()},
    **dict.fromkeys(ACTIVATIONS, OpKind.ACTIVATION),
}

# These hand their input on at inference: they are no operation.
IDENTITIES = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "RandomBrightness",
        "RandomColorJitter",
        "RandomContrast",
        "RandomFlip",
        "RandomHue",
        "RandomRotation",
        "RandomSaturation",
        "RandomTranslation",
        "RandomZoom",
    }
)
# What converters fuse into the operation before it.
FUSED_FUNCTIONS = frozenset({"relu", "relu6", "relu_n1_to_1"})


def name_function(function: Any) -> str:
    """Return the shared name of a Keras activation function; empty for none or the identity."""
    name = getattr(function, "__name__", type(function).__name__) if function is not None else ""
    name = _FUNCTION_NAMES.get(name, ACTIVATIONS.get(name, name))
    return "" if name == "linear" else str(name)


def read_function(layer: Any, class_name: str) -> str:
    """Return the function of an activation layer or operation."""
    if class_name == "ReLU":
        plain = not layer.negative_slope and not layer.threshold
        if plain and layer.max_value in (None, 6):
            return "relu" if layer.max_value is None else "relu6"
        return "leaky_relu" if layer.negative_slope and layer.max_value is None else "clip"
    if class_name in ACTIVATIONS:
        return ACTIVATIONS[class_name]
    return name_function(getattr(layer, "activation", None))


def read_settings(layer: Any, kind: OpKind, class_name: str) -> dict[str, Any]:
    """Read the attributes of a layer under their shared names."""
    if kind in _WINDOWED:
        return _read_window(layer, kind)
    reader = _READERS.get(kind)
    return reader(layer, class_name) if reader is not None else {}


def read_pointwise_settings(layer: Any) -> dict[str, Any]:
    """Return the settings of the second half of a separable convolution: a window of 1."""
    values = _read_window(layer, OpKind.CONV_2D)
    ones = (1,) * len(values["kernel"])
    return {**values, "kernel": ones, "strides": ones, "dilations": ones, "groups": 1}


_WINDOWED = frozenset(
    {
        OpKind.CONV_2D,
        OpKind.CONV_3D,
        OpKind.DEPTHWISE_CONV_2D,
        OpKind.TRANSPOSE_CONV_2D,
        OpKind.MAX_POOL,
        OpKind.AVERAGE_POOL,
    }
)


def _read_window(layer: Any, kind: OpKind) -> dict[str, Any]:
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if kernel is None:
        return {}
    values: dict[str, Any] = {
        "kernel": _lift(kernel),
        "strides": _lift(layer.strides),
        "dilations": _lift(getattr(layer, "dilation_rate", None) or (1,) * len(_tuple(kernel))),
        "padding": str(layer.padding),
    }
    if getattr(layer, "data_format", "") == "channels_first":
        values["channel_axis"] = 1
    if kind in (OpKind.CONV_2D, OpKind.CONV_3D, OpKind.TRANSPOSE_CONV_2D):
        values["groups"] = int(getattr(layer, "groups", 1))
    return values


def _tuple(value: Any) -> tuple[int, ...]:
    return (int(value),) if isinstance(value, int) else tuple(int(v) for v in value)


def _lift(value: Any) -> tuple[int, ...]:
    """Write a 1-D window as a 2-D one of height 1."""
    sizes = _tuple(value)
    return (1, *sizes) if len(sizes) == 1 else sizes


def _read_global_pool(layer: Any, class_name: str) -> dict[str, Any]:
    first = getattr(layer, "data_format", "") == "channels_first"
    rank = int(class_name[-2])
    return {
        "reduction": "max" if "Max" in class_name else "mean",
        "axes": tuple(range(2, rank + 2) if first else range(1, rank + 1)),
        "keep_dims": bool(layer.keepdims),
    }


def _read_axis(layer: Any, _class_name: str) -> dict[str, Any]:
    axis = getattr(layer, "axis", None)
    return {"axis": axis} if isinstance(axis, int) else {}


def _read_reduction(layer: Any, class_name: str) -> dict[str, Any]:
    axes = getattr(layer, "axis", None)
    values = {"reduction": class_name.lower(), "keep_dims": bool(getattr(layer, "keepdims", False))}
    return values if axes is None else {**values, "axes": _tuple(axes)}


def _read_norm(layer: Any, class_name: str) -> dict[str, Any]:
    return {**_read_axis(layer, class_name), "epsilon": float(layer.epsilon)}


def _read_padding(layer: Any, _class_name: str) -> dict[str, Any]:
    padding = getattr(layer, "padding", None)
    if not isinstance(padding, tuple):
        return {}
    # One axis: (before, after) itself; more: one pair for each.
    margins = _tuple(padding) if isinstance(padding[0], int) else _tuple(sum(padding, ()))
    first = getattr(layer, "data_format", "") == "channels_first"
    before, after = ((0,) * 4, ()) if first else ((0, 0), (0, 0))
    named = name_paddings((*before, *margins, *after), first=2 if first else 1)
    return {**named, "channel_axis": 1} if first else dict(named)


def _read_resize(layer: Any, _class_name: str) -> dict[str, Any]:
    mode = str(getattr(layer, "interpolation", "nearest"))
    return {"mode": mode, "half_pixel_centers": True, "align_corners": False}


def _read_equation(layer: Any, _class_name: str) -> dict[str, Any]:
    equation = getattr(layer, "equation", None) or getattr(layer, "subscripts", None)
    return {"equation": equation} if equation else {}


_READERS: Mapping[OpKind, Any] = {
    OpKind.GLOBAL_POOL: _read_global_pool,
    OpKind.CONCAT: _read_axis,
    OpKind.SOFTMAX: _read_axis,
    OpKind.BATCH_NORM: _read_norm,
    OpKind.PAD: _read_padding,
    OpKind.REDUCE: _read_reduction,
    OpKind.RESIZE: _read_resize,
    OpKind.MATMUL: _read_equation,
}

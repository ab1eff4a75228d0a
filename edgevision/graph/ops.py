"""One vocabulary of operations for every format.

Readers map ``CONV_2D`` (TFLite), ``Conv`` (ONNX), ``Conv2D`` (Keras) and the primitives of
``GraphNet`` to the same ``OpKind``, so that counting, planning and placement are written once.
"""

from __future__ import annotations

from enum import StrEnum


class OpKind(StrEnum):
    """What an operation computes, whatever its format calls it."""

    CONV_2D = "conv_2d"
    DEPTHWISE_CONV_2D = "depthwise_conv_2d"
    TRANSPOSE_CONV_2D = "transpose_conv_2d"
    CONV_3D = "conv_3d"
    FULLY_CONNECTED = "fully_connected"
    MATMUL = "matmul"
    BATCH_NORM = "batch_norm"
    LSTM = "lstm"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    ACTIVATION = "activation"
    SOFTMAX = "softmax"
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"
    GLOBAL_POOL = "global_pool"
    REDUCE = "reduce"
    CONCAT = "concat"
    SPLIT = "split"
    SLICE = "slice"
    GATHER = "gather"
    PAD = "pad"
    RESHAPE = "reshape"
    TRANSPOSE = "transpose"
    RESIZE = "resize"
    CAST = "cast"
    QUANTIZE = "quantize"
    DEQUANTIZE = "dequantize"
    ARG_MAX = "arg_max"
    NMS = "nms"
    DETECTION_POSTPROCESS = "detection_postprocess"
    CONSTANT = "constant"
    ELEMENTWISE = "elementwise"
    CONTROL_FLOW = "control_flow"
    OTHER = "other"
    CUSTOM = "custom"

"""What each ONNX operator is in the shared vocabulary, and where its operands stand.

Follows https://onnx.ai/onnx/operators and, for the ``com.microsoft`` domain, ONNX Runtime's
contributed operators.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgevision.graph.ops import OpKind

_NAMES: Mapping[OpKind, str] = {
    OpKind.CONV_2D: "Conv ConvInteger QLinearConv FusedConv DeformConv",
    OpKind.TRANSPOSE_CONV_2D: "ConvTranspose",
    OpKind.FULLY_CONNECTED: "Gemm QGemm FusedGemm",
    OpKind.MATMUL: "MatMul MatMulInteger QLinearMatMul FusedMatMul Einsum",
    OpKind.BATCH_NORM: "BatchNormalization",
    OpKind.LSTM: "LSTM",
    OpKind.ADD: "Add QLinearAdd Sum",
    OpKind.SUB: "Sub",
    OpKind.MUL: "Mul QLinearMul",
    OpKind.DIV: "Div",
    OpKind.SOFTMAX: "Softmax LogSoftmax QLinearSoftmax Hardmax",
    OpKind.MAX_POOL: "MaxPool",
    OpKind.AVERAGE_POOL: "AveragePool QLinearAveragePool LpPool",
    OpKind.GLOBAL_POOL: ("GlobalAveragePool GlobalMaxPool GlobalLpPool QLinearGlobalAveragePool"),
    OpKind.REDUCE: (
        "ReduceMean ReduceMax ReduceMin ReduceSum ReduceProd ReduceL1 ReduceL2 ReduceLogSum"
        " ReduceLogSumExp ReduceSumSquare QLinearReduceMean"
    ),
    OpKind.CONCAT: "Concat QLinearConcat",
    OpKind.SPLIT: "Split",
    OpKind.SLICE: "Slice",
    OpKind.GATHER: "Gather GatherND GatherElements",
    OpKind.PAD: "Pad",
    OpKind.RESHAPE: "Reshape Flatten Squeeze Unsqueeze Identity Dropout",
    OpKind.TRANSPOSE: "Transpose",
    OpKind.RESIZE: "Resize Upsample",
    OpKind.CAST: "Cast CastLike BitCast",
    OpKind.QUANTIZE: "QuantizeLinear DynamicQuantizeLinear",
    OpKind.DEQUANTIZE: "DequantizeLinear",
    OpKind.ARG_MAX: "ArgMax ArgMin",
    OpKind.NMS: "NonMaxSuppression",
    OpKind.CONSTANT: "ConstantOfShape Range Shape Size EyeLike",
    OpKind.CONTROL_FLOW: "If Loop Scan SequenceMap",
    OpKind.ELEMENTWISE: (
        "Abs Acos Acosh And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr"
        " BitwiseXor Ceil Cos Cosh Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less"
        " LessOrEqual Log Max Mean Min Mod Neg Not Or Pow Reciprocal Round Sign Sin Sinh Sqrt Tan"
        " Where Xor"
    ),
}
# Activation functions that are operations of their own.
ACTIVATIONS: Mapping[str, str] = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSwish": "hard_swish",
    "HardSigmoid": "hard_sigmoid",
    "LeakyRelu": "leaky_relu",
    "QLinearLeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu",
    "PRelu": "prelu",
    "Elu": "elu",
    "Celu": "celu",
    "Selu": "selu",
    "Gelu": "gelu",
    "FastGelu": "gelu",
    "Swish": "swish",
    "Mish": "mish",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Clip": "clip",
}
# What is left of the values along the axes.
REDUCTIONS: Mapping[str, str] = {
    "ReduceMean": "mean",
    "QLinearReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceSum": "sum",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
    "ReduceSumSquare": "sum_square",
    "GlobalAveragePool": "mean",
    "QLinearGlobalAveragePool": "mean",
    "GlobalMaxPool": "max",
    "GlobalLpPool": "lp",
}
KINDS: Mapping[str, OpKind] = {
    **{name: kind for kind, names in _NAMES.items() for name in names.split()},
    **dict.fromkeys(ACTIVATIONS, OpKind.ACTIVATION),
}

# Which inputs (value, scale, zero point) and which output they quantize: operator -> rows of
# (value, scale, zero_point); a value of -1 is the first output.
QUANTIZED: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "QuantizeLinear": ((-1, 1, 2),),
    "DequantizeLinear": ((0, 1, 2),),
    "QLinearConv": ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    "QLinearMatMul": ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    "QLinearAdd": ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    "QLinearMul": ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    "QLinearSigmoid": ((0, 1, 2), (-1, 3, 4)),
    "QLinearLeakyRelu": ((0, 1, 2), (-1, 3, 4)),
    "QLinearAveragePool": ((0, 1, 2), (-1, 3, 4)),
    "QLinearGlobalAveragePool": ((0, 1, 2), (-1, 3, 4)),
    "QLinearSoftmax": ((0, 1, 2), (-1, 3, 4)),
    "QLinearConcat": ((-1, 0, 1),),
    "QGemm": ((0, 1, 2), (3, 4, 5), (-1, 7, 8)),
}

# ONNX's own shape inference does not know contributed operators. Each has the shape of a standard
# one over some of its inputs: a slice of them.
STAND_INS: Mapping[str, tuple[str, slice]] = {
    "QLinearAdd": ("Add", slice(0, 4, 3)),
    "QLinearMul": ("Mul", slice(0, 4, 3)),
    "QLinearSigmoid": ("Identity", slice(0, 1)),
    "QLinearLeakyRelu": ("Identity", slice(0, 1)),
    "QLinearSoftmax": ("Identity", slice(0, 1)),
    "QLinearAveragePool": ("AveragePool", slice(0, 1)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", slice(0, 1)),
    "QLinearConcat": ("Concat", slice(2, None, 3)),
    "QGemm": ("Gemm", slice(0, 4, 3)),
    "FusedConv": ("Conv", slice(0, 3)),
    "FusedGemm": ("Gemm", slice(0, 3)),
    "FusedMatMul": ("MatMul", slice(0, 2)),
    "FastGelu": ("Identity", slice(0, 1)),
    "Gelu": ("Identity", slice(0, 1)),
    "QuantizeLinear": ("QuantizeLinear", slice(0, 3)),
    "DequantizeLinear": ("DequantizeLinear", slice(0, 3)),
}

# TensorProto.DataType -> NumPy name.
DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    25: "uint2",
    26: "int2",
}

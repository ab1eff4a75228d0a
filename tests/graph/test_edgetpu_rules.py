from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_models import build_classifier, build_detector

from edgevision.graph.edgetpu_rules import BEHIND, find_refusals, give_edgetpu_reason
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite import read_tflite
from edgevision.graph.tflite_schema import classify_op

Shape = tuple[int, ...]


def build_op(
    name: str,
    shapes: tuple[Shape, Shape] = ((1, 8, 8, 4), (1, 8, 8, 4)),
    *,
    dtype: str = "int8",
    constants: tuple[np.ndarray, ...] = (),
    **attributes: Any,
) -> Graph:
    """One operation that reads an activation and constants and writes an activation."""
    tensors = [Tensor(index=i, name=f"t{i}", shape=s, dtype=dtype) for i, s in enumerate(shapes)]
    for values in constants:
        tensors.append(
            Tensor(
                index=len(tensors),
                name="constant",
                shape=values.shape,
                dtype=values.dtype.name,
                data=values,
                constant=True,
            )
        )
    inputs = (0, *range(2, len(tensors)))
    op = Op(0, classify_op(name), name, inputs, (1,), attributes)
    return Graph(name="one", tensors=tuple(tensors), ops=(op,), inputs=(0,), outputs=(1,))


def reason_of(name: str, *arguments: Any, **options: Any) -> str:
    graph = build_op(name, *arguments, **options)
    return give_edgetpu_reason(graph, graph.ops[0])


KERNEL = np.ones((4, 3, 3, 4), np.int8)
FLAT = ((1, 4), (1, 4))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RELU6", {}),
        ("CONV_2D", {"constants": (KERNEL,), "dilations": (2, 2)}),
        ("FULLY_CONNECTED", {"shapes": FLAT, "constants": (np.ones((4, 4), np.int8),)}),
        ("SOFTMAX", {"shapes": ((1, 16_000), (1, 16_000))}),
        ("MEAN", {"axes": (1, 2)}),
        ("MEAN", {"axes": (-1,)}),
        ("MEAN", {"axes": (1, 2), "shapes": ((1, 64, 128, 3), (1, 3))}),
        ("SPLIT", {"axis": 3}),
        ("CONCATENATION", {"axis": -1}),
        ("CONCATENATION", {"constants": (np.zeros((1, 8, 8, 4), np.int8),)}),
        ("AVERAGE_POOL_2D", {}),
        ("PAD", {"padding": (1, 1, 1, 1)}),
        ("PRELU", {"constants": (np.ones((1, 1, 4), np.int8),)}),
        ("RESIZE_NEAREST_NEIGHBOR", {"shapes": ((1, 8, 8, 4), (1, 16, 16, 4))}),
        ("STRIDED_SLICE", {"strides": (1, 1, 1, 1)}),
        ("SQUEEZE", {"shapes": ((1, 1, 8, 4), (8, 4)), "axes": (0, 1)}),
    ],
)
def test_taken(name: str, options: dict[str, Any]) -> None:
    assert reason_of(name, **options) == ""


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("HARD_SWISH", {}, "no such operation"),
        ("RELU6", {"dtype": "float32"}, "float32"),
        ("RELU6", {"dtype": "int16"}, "int16"),
        ("RELU6", {"shapes": ((1, -1, 8, 4), (1, 8, 8, 4))}, "not fixed"),
        ("RELU6", {"shapes": ((2, 8, 8, 4), (2, 8, 8, 4))}, "3 innermost"),
        ("CONV_2D", {"constants": (KERNEL,), "dilations": (1, 2)}, "dilations differ"),
        (
            "FULLY_CONNECTED",
            {"shapes": ((8, 4), (8, 4)), "constants": (np.ones((4, 4), np.int8),)},
            "not one-dimensional",
        ),
        (
            "FULLY_CONNECTED",
            {"shapes": FLAT, "constants": (np.ones((4, 4), np.int8),), "weights_format": 1},
            "shuffled",
        ),
        ("SOFTMAX", {"shapes": ((1, 16_001), (1, 16_001))}, "more than 16000"),
        ("SOFTMAX", {}, "not one-dimensional"),
        ("MEAN", {"axes": (0,)}, "along the batch"),
        ("MEAN", {}, "no constants"),
        ("MEAN", {"shapes": ((1, 8, 8, 6), (1, 8, 8)), "axes": (3,)}, "no multiple of 4"),
        ("SPLIT", {"axis": -4}, "along the batch"),
        ("CONCATENATION", {"constants": (KERNEL,)}, "not zero"),
        ("CONCATENATION", {"activation": "relu"}, "fused"),
        ("MAX_POOL_2D", {"activation": "relu6"}, "fused"),
        ("TRANSPOSE_CONV", {"activation": "relu"}, "fused"),
        ("PAD", {"paddings": (1, 0, 0, 0, 0, 0, 0, 0)}, "pads the batch"),
        ("PRELU", {"constants": (np.ones((8, 8, 4), np.int8),)}, "slopes"),
        ("RESIZE_BILINEAR", {"shapes": ((1, 1, 1, 4), (1, 33, 33, 4))}, "enlarges by 33"),
        ("RESIZE_BILINEAR", {"shapes": ((1, 256, 256, 32), (1, 512, 512, 32))}, "8.4 MB"),
        ("MEAN", {"axes": (1, 2), "shapes": ((1, 256, 128, 3), (1, 3))}, "32768 positions"),
        ("STRIDED_SLICE", {"strides": (1, 2, 2, 1)}, "strides"),
        ("STRIDED_SLICE", {"strides": (1, 1, 1, 1), "new_axis_mask": 1}, "inserts axes"),
        ("SQUEEZE", {"shapes": ((1, 8, 1, 4), (1, 8, 4)), "axes": (2,)}, "leading"),
    ],
)
def test_refused(name: str, options: dict[str, Any], reason: str) -> None:
    assert reason in reason_of(name, **options)


def test_weights_must_be_constants() -> None:
    graph = build_op("CONV_2D")
    op = Op(0, OpKind.CONV_2D, "CONV_2D", (0, 1), (1,))
    assert "weights are no constants" in give_edgetpu_reason(graph, op)


def chain(*names: str, floats: int = 0) -> Graph:
    """A chain of operations whose first ``floats`` tensors are float."""
    tensors = tuple(
        Tensor(index=i, name=f"t{i}", shape=(1, 4), dtype="float32" if i < floats else "int8")
        for i in range(len(names) + 1)
    )
    ops = tuple(Op(i, classify_op(n), n, (i,), (i + 1,)) for i, n in enumerate(names))
    return Graph(name="chain", tensors=tensors, ops=ops, inputs=(0,), outputs=(len(names),))


def test_what_needs_a_refused_result_stays_too() -> None:
    refusals = find_refusals(chain("RELU6", "HARD_SWISH", "RELU", "GELU"))
    assert [r.op.name for r in refusals] == ["HARD_SWISH", "RELU", "GELU"]
    assert [r.reason == BEHIND for r in refusals] == [False, True, False]
    assert [r.is_cause for r in refusals] == [True, False, True]


def test_branches_beside_a_refused_operation_are_taken() -> None:
    tensors = tuple(Tensor(index=i, name="", shape=(1, 4), dtype="int8") for i in range(3))
    ops = (
        Op(0, OpKind.ACTIVATION, "HARD_SWISH", (0,), (1,)),
        Op(1, OpKind.ACTIVATION, "RELU", (0,), (2,)),
    )
    graph = Graph(name="fork", tensors=tensors, ops=ops, inputs=(0,), outputs=(1, 2))
    assert [r.op.index for r in find_refusals(graph)] == [0]


def test_quantizing_the_input_stays_alone() -> None:
    refusals = find_refusals(chain("QUANTIZE", "RELU", "DEQUANTIZE", floats=1))
    assert [r.op.name for r in refusals] == ["QUANTIZE", "DEQUANTIZE"]


def test_floats_behind_a_refused_operation_are_no_cause() -> None:
    graph = chain("DEQUANTIZE", "RELU")
    tensors = tuple(
        Tensor(index=t.index, name=t.name, shape=t.shape, dtype="float32" if t.index else "int8")
        for t in graph.tensors
    )
    refusals = find_refusals(replace(graph, tensors=tensors))
    assert [r.is_cause for r in refusals] == [True, False]


def test_a_float_file_is_refused_whole() -> None:
    graph = read_tflite(build_classifier())
    assert len(find_refusals(graph)) == len(graph.ops)
    assert find_refusals(read_tflite(build_detector()))[-1].op.name.startswith("CUSTOM:")


def test_the_part_may_begin_behind_what_can_not_be_mapped() -> None:
    # A leading run of refused operations does not cost the rest; a second part does.
    refusals = find_refusals(chain("HARD_SWISH", "RELU", "RELU6", "HARD_SWISH", "RELU"))
    assert [r.op.index for r in refusals] == [0, 3, 4]
    assert [r.is_cause for r in refusals] == [True, True, False]


def test_float_ends_of_a_published_log() -> None:
    """As mnist4 of https://github.com/system-software-lab/nrf20, convert/quantize/README.md."""
    names = [
        "QUANTIZE",
        "RELU",
        "MAX_POOL_2D",
        "RELU",
        "MAX_POOL_2D",
        "RELU",
        "RELU",
        "SOFTMAX",
        "DEQUANTIZE",
    ]
    graph = chain(*names, floats=1)
    last = replace(graph, tensors=(*graph.tensors[:-1], _as_float(graph.tensors[-1])))
    assert [r.op.name for r in find_refusals(last)] == ["QUANTIZE", "DEQUANTIZE"]


def _as_float(tensor: Tensor) -> Tensor:
    return Tensor(index=tensor.index, name=tensor.name, shape=tensor.shape, dtype="float32")


def test_the_part_is_the_first_even_if_it_is_small() -> None:
    """2 of 155 operations in https://github.com/google-coral/edgetpu/issues/342.

    One PAD and one QUANTIZE are mapped there, between operations that are not (here HARD_SWISH);
    that these come first and the part lies between is what the counts suggest.
    """
    names = ["QUANTIZE", "HARD_SWISH", "QUANTIZE", "PAD", "HARD_SWISH", "RELU", "RELU"]
    mapped = set(range(len(names))) - {r.op.index for r in find_refusals(chain(*names, floats=1))}
    assert mapped == {2, 3}

from __future__ import annotations

import pytest

from edgevision.errors import InvalidModelError
from edgevision.graph.contract_guesses import (
    count_channels,
    count_classes,
    guess_preprocessing,
    guess_scores,
    guess_task,
)
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.specs import ColorOrder, Quantization, ScoreKind, Task, TensorSpec


def make_graph(
    *outputs: tuple[int, ...],
    image: tuple[int, ...] = (1, 8, 8, 3),
    dtype: str = "float32",
    ops: tuple[OpKind, ...] = (),
) -> Graph:
    """Chain ``ops`` from the image to the first output."""
    shapes = [image, *[(1,)] * max(len(ops) - 1, 0), *outputs]
    tensors = tuple(Tensor(i, f"t{i}", shape, dtype) for i, shape in enumerate(shapes))
    chain = tuple(Op(i, kind, kind.name, (i,), (i + 1,)) for i, kind in enumerate(ops))
    first = len(shapes) - len(outputs)
    return Graph("g", tensors, chain, (0,), tuple(range(first, len(shapes))))


@pytest.mark.parametrize(
    ("outputs", "dtype", "task"),
    [
        ([(1, 10)], "float32", Task.CLASSIFY),
        ([(-1, 10)], "int8", Task.CLASSIFY),
        ([(10,)], "float32", Task.CLASSIFY),
        ([(1, 1, 1, 10)], "float32", Task.CLASSIFY),
        ([(1, 10, 1, 1)], "float32", Task.CLASSIFY),
        ([(1, 8, 8, 4)], "float32", Task.SEGMENT),
        ([(1, 4, 8, 8)], "float32", Task.SEGMENT),
        ([(1, 8, 8, 1)], "float32", Task.SEGMENT),
        ([(1, 8, 8)], "int64", Task.SEGMENT),
        ([(), (), (), ()], "float32", Task.DETECT),
        ([(1, 100, 4), (1, 100, 3)], "float32", Task.DETECT),
    ],
)
def test_task(outputs: list[tuple[int, ...]], dtype: str, task: Task) -> None:
    assert guess_task(make_graph(*outputs, dtype=dtype)) is task


@pytest.mark.parametrize("outputs", [[()], [(1, 2), (1, 2)], [(1,)] * 5])
def test_outputs_that_fit_no_task(outputs: list[tuple[int, ...]]) -> None:
    with pytest.raises(InvalidModelError, match="task"):
        guess_task(make_graph(*outputs))


@pytest.mark.parametrize(
    ("ops", "scores"),
    [
        ((OpKind.SOFTMAX,), ScoreKind.PROBABILITIES),
        ((OpKind.SOFTMAX, OpKind.RESHAPE, OpKind.DEQUANTIZE), ScoreKind.PROBABILITIES),
        ((OpKind.FULLY_CONNECTED, OpKind.QUANTIZE), ScoreKind.LOGITS),
        ((OpKind.RESHAPE,), ScoreKind.PROBABILITIES),
        ((), ScoreKind.PROBABILITIES),
    ],
)
def test_scores(ops: tuple[OpKind, ...], scores: ScoreKind) -> None:
    assert guess_scores(make_graph((1, 10), ops=ops)) is scores


@pytest.mark.parametrize(
    ("output", "image", "dtype", "task", "count"),
    [
        ((1, 10), (1, 8, 8, 3), "float32", Task.CLASSIFY, 10),
        ((1, 1), (1, 8, 8, 3), "float32", Task.CLASSIFY, 1),
        ((1, 8, 8, 4), (1, 8, 8, 3), "float32", Task.SEGMENT, 4),
        ((1, 4, 8, 8), (1, 3, 8, 8), "float32", Task.SEGMENT, 4),
        ((1, 8, 8, 1), (1, 8, 8, 3), "float32", Task.SEGMENT, 0),
        ((1, 8, 8), (1, 8, 8, 3), "int64", Task.SEGMENT, 0),
        ((1, 10), (1, 8, 8, 3), "float32", Task.DETECT, 0),
    ],
)
def test_classes(
    output: tuple[int, ...], image: tuple[int, ...], dtype: str, task: Task, count: int
) -> None:
    assert count_classes(make_graph(output, image=image, dtype=dtype), task) == count


def test_channels() -> None:
    shapes = [(1, 8, 8, 3), (1, 3, 8, 8), (1, 8, 8, 1), (1, 28, 28)]
    specs = [TensorSpec(name="x", shape=shape, dtype="float32") for shape in shapes]
    assert [count_channels(spec) for spec in specs] == [3, 3, 1, 0]


def test_an_int8_input_stores_pixels_shifted_by_128() -> None:
    parameters = Quantization((1 / 127.5,), (-1,))
    spec = TensorSpec(name="x", shape=(1, 8, 8, 1), dtype="int8", quantization=parameters)
    preprocessing = guess_preprocessing(spec)
    assert preprocessing.mean == (-1 - -128,)
    assert preprocessing.std == (127.5,)
    assert preprocessing.color is ColorOrder.GRAY

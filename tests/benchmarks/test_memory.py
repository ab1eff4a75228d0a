from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_graphs import GraphSketch, draw_graph

from edgevision.benchmarks.memory import (
    PLANNERS,
    TFLITE,
    TFLITE_MICRO,
    MemoryPlan,
    Planner,
    measure_memory,
    plan_memory,
)
from edgevision.errors import InvalidConfigError
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.graph.reader import read_graph

TIGHT = Planner(name="tight", alignment_bytes=1, share_reshapes=True, best_fit=True)


def chain(*sizes: int, kind: OpKind = OpKind.SOFTMAX) -> Graph:
    """A chain of operations over buffers of ``sizes`` float32 values."""
    sketch = GraphSketch()
    tensors = [sketch.tensor(1, size) for size in sizes]
    for source, result in itertools.pairwise(tensors):
        sketch.op(kind, [source], [result])
    return sketch.graph(tensors[:1], tensors[-1:])


def check_plan(plan: MemoryPlan) -> None:
    for a, b in itertools.combinations(plan.buffers, 2):
        together = a.first <= b.last and b.first <= a.last
        apart = a.offset + a.num_bytes <= b.offset or b.offset + b.num_bytes <= a.offset
        assert apart or not together
    assert all(b.offset % plan.planner.alignment_bytes == 0 for b in plan.buffers)
    end = max(b.offset + b.num_bytes for b in plan.buffers)
    assert end <= plan.peak_bytes < end + plan.planner.alignment_bytes
    assert plan.peak_bytes >= plan.lower_bound_bytes


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
def test_no_two_living_buffers_overlap(seed: int, planner: Planner) -> None:
    graph = draw_graph(seed, num_ops=5 + seed * 3)
    plan = plan_memory(graph, replace(planner, alignment_bytes=(1, 16, 64)[seed % 3]))
    check_plan(plan)
    planned = [t for b in plan.buffers for t in (b.tensor, *b.shared)]
    written = {*graph.inputs, *(t for op in graph.ops for t in op.outputs)}
    assert sorted(planned) == sorted(written)


@pytest.mark.parametrize("seed", range(10))
def test_a_buffer_lives_from_its_writer_to_its_last_reader(seed: int) -> None:
    graph = draw_graph(seed, num_ops=30)
    plan = plan_memory(graph)
    home = {t: b for b in plan.buffers for t in (b.tensor, *b.shared)}
    for op in graph.ops:
        for index in (*op.inputs, *op.outputs):
            assert home[index].first <= op.index <= home[index].last
    assert all(home[i].last == len(graph.ops) - 1 for i in graph.outputs)


def test_a_chain_needs_its_largest_pair() -> None:
    plan = plan_memory(chain(16, 64, 128, 32))
    assert plan.lower_bound_bytes == 4 * (64 + 128)
    assert plan.peak_bytes == 4 * (64 + 128)


def test_measuring_agrees_with_planning() -> None:
    graph = draw_graph(3, num_ops=60)
    plan = plan_memory(graph)
    assert measure_memory(graph) == (plan.peak_bytes, plan.lower_bound_bytes)


def test_alignment_moves_offsets_and_not_the_bound() -> None:
    graph = chain(3, 5, 3)
    assert plan_memory(graph, TIGHT).peak_bytes == 4 * (3 + 5)
    aligned = plan_memory(graph, replace(TIGHT, alignment_bytes=64))
    assert aligned.peak_bytes == 64 + 4 * 3
    assert aligned.lower_bound_bytes == 4 * (3 + 5)


def test_micro_places_equal_sizes_from_the_last_to_the_first() -> None:
    """The second of two equal buffers is placed first and leaves a gap too small for the first.

    So it is in MLPerf Tiny's person detector, whose arena is a third above the lower bound.
    """
    graph = chain(48, 32, 32, 64)
    plan = plan_memory(graph, TFLITE_MICRO)
    assert plan.lower_bound_bytes == 4 * (64 + 32)
    assert [b.offset for b in plan.buffers] == [0, 4 * 96, 4 * 64, 0]
    assert plan.peak_bytes == 4 * 128


def test_inputs_can_be_kept() -> None:
    graph = chain(100, 10, 100, 10)
    assert plan_memory(graph, TIGHT).peak_bytes == 4 * 110
    assert plan_memory(graph, replace(TIGHT, keep_inputs=True)).peak_bytes == 4 * 210


def test_reshapes_share_unless_told_otherwise() -> None:
    graph = chain(64, 64, kind=OpKind.RESHAPE)
    assert plan_memory(graph, TFLITE).peak_bytes == 4 * 64
    assert plan_memory(graph, TFLITE_MICRO).peak_bytes == 4 * 128


def test_weights_unpacked_at_load_time_are_no_activations() -> None:
    sketch = GraphSketch()
    x, y, full = sketch.tensor(1, 6), sketch.tensor(1, 5), sketch.tensor(5, 6)
    sketch.op(OpKind.DEQUANTIZE, [sketch.weight(5, 6, dtype="float16")], [full])
    sketch.op(OpKind.FULLY_CONNECTED, [x, full], [y])
    assert plan_memory(sketch.graph([x], [y]), TIGHT).peak_bytes == 4 * (6 + 5)


def test_what_converters_fold_takes_no_memory_in_a_network() -> None:
    sketch = GraphSketch(None)
    x, conv, norm, relu = (sketch.tensor(1, 4, 4, 8) for _ in range(4))
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(3, 3, 8, 8)], [conv])
    sketch.op(OpKind.BATCH_NORM, [conv, sketch.weight(8)], [norm])
    sketch.op(OpKind.ACTIVATION, [norm], [relu], "ReLU", {"activation": "relu6"})
    plan = plan_memory(sketch.graph([x], [relu]))
    assert plan.peak_bytes == 2 * 4 * 4 * 8 * 4
    assert [(b.tensor, b.shared) for b in plan.buffers] == [(x, ()), (conv, (norm, relu))]


@pytest.mark.parametrize(("margins", "folded"), [((0, 1, 0, 1), True), ((1, 1, 1, 1), False)])
def test_a_padding_that_amounts_to_same_is_folded(margins: tuple[int, ...], folded: bool) -> None:
    sketch = GraphSketch(None)
    side = 8 + margins[0] + margins[1]
    x, padded, y = sketch.tensor(1, 8, 8, 2), sketch.tensor(1, side, side, 2), sketch.tensor(1, 32)
    sketch.op(OpKind.PAD, [x], [padded], "ZeroPadding2D", {"padding": margins})
    window = {"kernel": (3, 3), "strides": (2, 2), "dilations": (1, 1), "padding": "valid"}
    sketch.op(OpKind.DEPTHWISE_CONV_2D, [padded, sketch.weight(3, 3, 2, 1)], [y], "", window)
    assert len(plan_memory(sketch.graph([x], [y])).buffers) == (2 if folded else 3)


def test_an_activation_with_another_reader_is_not_folded() -> None:
    sketch = GraphSketch(None)
    x, conv, relu, both = (sketch.tensor(1, 16) for _ in range(4))
    sketch.op(OpKind.FULLY_CONNECTED, [x, sketch.weight(16, 16)], [conv])
    sketch.op(OpKind.ACTIVATION, [conv], [relu], "ReLU", {"activation": "relu"})
    sketch.op(OpKind.ADD, [conv, relu], [both])
    assert plan_memory(sketch.graph([x], [both])).peak_bytes == 3 * 64


def test_dynamic_dimensions_count_as_one() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(-1, 16), sketch.tensor(-1, 16)
    sketch.op(OpKind.SOFTMAX, [x], [y])
    assert plan_memory(sketch.graph([x], [y])).peak_bytes == 2 * 16 * 4


def test_an_empty_graph_needs_nothing() -> None:
    assert plan_memory(GraphSketch().graph()).peak_bytes == 0


def test_alignment_must_be_positive() -> None:
    with pytest.raises(InvalidConfigError, match="alignment_bytes=0"):
        replace(TFLITE, alignment_bytes=0)


def test_agrees_with_the_arena_of_the_interpreter(real_data: Path) -> None:
    """Addresses of the interpreter's tensors, without delegates, span what was planned.

    Where a kernel unrolls patches the interpreter's arena is larger by that scratch memory; the
    files here have none.
    """
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    reference = interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    for name in ("models/deeplabv3.tflite", "edgetpu_pairs/split_concat.tflite"):
        path = real_data / name
        graph = read_graph(path)
        interpreter = interpreters.Interpreter(
            str(path), experimental_op_resolver_type=reference, num_threads=1
        )
        interpreter.allocate_tensors()
        plan = plan_memory(graph, TFLITE)
        views = [interpreter.tensor(b.tensor)() for b in plan.buffers]
        starts = [v.__array_interface__["data"][0] for v in views]
        ends = [start + v.nbytes for start, v in zip(starts, views, strict=True)]
        assert max(ends) - min(starts) == plan.peak_bytes
        del views

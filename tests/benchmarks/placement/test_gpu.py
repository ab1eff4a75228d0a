from __future__ import annotations

from pathlib import Path

import pytest
from tiny_graphs import GraphSketch

from edgevision.benchmarks.placement import gpu
from edgevision.benchmarks.placement.explain import explain
from edgevision.benchmarks.placement.gpu import GpuPlacement, find_partition, give_reasons
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.runtime.gpu_log import GpuReport
from edgevision.runtime.session import Adapter

ADAPTER = Adapter(
    name="Chip", kind="discrete GPU", api="Vulkan", precision="float16", software=False
)


def sketch_chain(*names: str) -> Graph:
    """One operation after the other."""
    sketch = GraphSketch()
    first = tensor = sketch.tensor(1, 4)
    for name in names:
        source, tensor = tensor, sketch.tensor(1, 4)
        sketch.op(OpKind.ELEMENTWISE, [source], [tensor], name)
    return sketch.graph([first], [tensor])


def sketch_branches() -> Graph:
    """Two branches from one input: 0 1 2 of length three, 3 4 of length two; 5 joins them."""
    sketch = GraphSketch()
    first = sketch.tensor(1, 4)
    ends = []
    for length in (3, 2):
        tensor = first
        for _ in range(length):
            source, tensor = tensor, sketch.tensor(1, 4)
            sketch.op(OpKind.ELEMENTWISE, [source], [tensor], "RELU")
        ends.append(tensor)
    result = sketch.tensor(1, 4)
    sketch.op(OpKind.ELEMENTWISE, ends, [result], "ADD")
    return sketch.graph([first], [result])


def make_report(delegated: int, total: int, *refusals: tuple[str, str]) -> GpuReport:
    return GpuReport(adapter=ADAPTER, delegated_ops=delegated, total_ops=total, refusals=refusals)


def test_without_refusals_everything_is_taken() -> None:
    assert find_partition(sketch_chain("CONV_2D", "RELU"), []) == {0, 1}


@pytest.mark.parametrize(
    ("refused", "taken"), [([3], {0, 1, 2}), ([1], {2, 3, 4}), ([0, 4], {1, 2, 3}), ([2], {0, 1})]
)
def test_the_largest_group_of_a_chain_is_taken(refused: list[int], taken: set[int]) -> None:
    assert find_partition(sketch_chain(*["RELU"] * 5), refused) == taken


def test_a_group_spans_branches() -> None:
    # What is refused first is out of the way of all others; later on it cuts them in two.
    assert find_partition(sketch_branches(), [0]) == {1, 2, 3, 4, 5}
    assert find_partition(sketch_branches(), [1]) == {0, 3, 4}


def test_everything_refused_leaves_nothing() -> None:
    assert find_partition(sketch_chain("PACK"), [0]) == frozenset()


def test_reasons_name_the_refusal_or_the_op_that_cuts_off() -> None:
    graph = sketch_chain("CONV_2D", "CONV_2D", "SQUEEZE", "SOFTMAX")
    report = make_report(2, 4, ("SQUEEZE", "Operation is not supported"))
    on_gpu, _, squeeze, softmax = give_reasons(graph, {0, 1}, {2}, report)
    assert on_gpu == ""
    assert squeeze == "the GPU refuses it: Operation is not supported"
    assert "comes after SQUEEZE (operation 2), which it refuses" in softmax


def test_a_smaller_group_before_the_refused_op_has_its_reason() -> None:
    graph = sketch_chain("RELU", "PACK", "RELU", "RELU")
    first, *_ = give_reasons(graph, {2, 3}, {1}, make_report(2, 4, ("PACK", "no")))
    assert (
        first == "the GPU takes one group of operations only, the largest; this one is in another"
    )


def test_numbers_that_differ_are_admitted(monkeypatch, tiny_tflite: Path) -> None:
    placed = GpuPlacement(report=make_report(3, 5), reasons=("", "", "", "", "why"), certain=False)
    monkeypatch.setattr(gpu, "place_ops", lambda _path, float32: placed)
    explanation = explain(tiny_tflite, device="gpu")
    assert [op.placement for op in explanation.ops] == ["gpu"] * 4 + ["cpu"]
    assert explanation.notes[0] == "Chip (discrete GPU, Vulkan) computes in float16"
    assert "took 3 of 5 operations" in explanation.notes[1]


def test_single_operations_are_asked_about(monkeypatch, tiny_tflite: Path) -> None:
    """Of two convolutions of a refused kind, only the one that is refused alone stays behind."""
    from edgevision.errors import DelegateError
    from edgevision.graph.reader import read_graph

    graph = read_graph(tiny_tflite)
    assert len(graph.ops) == 5

    class FakeSession:
        def __init__(self, path: Path, **_options: object) -> None:
            self.report = make_report(4, 5, ("FULLY_CONNECTED", "no"), ("CONV_2D", "no"))
            (alone,) = (
                {op.name for op in read_graph(path).ops} if Path(path) != tiny_tflite else ("",)
            )
            if alone == "FULLY_CONNECTED":
                raise DelegateError("no operation", device="gpu")

        def close(self) -> None:
            pass

    monkeypatch.setattr(gpu, "GpuSession", FakeSession)
    placed = gpu._place_ops(str(tiny_tflite), False)
    names = [op.name for op, reason in zip(graph.ops, placed.reasons, strict=True) if reason]
    assert names == ["FULLY_CONNECTED", "SOFTMAX"]
    assert not placed.certain

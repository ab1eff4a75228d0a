"""Graphs put together by hand, for tests of what is written against ``Graph``."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat


class GraphSketch:
    """Collects tensors and operations; ``graph`` closes it."""

    def __init__(self, model_format: ModelFormat | None = ModelFormat.TFLITE) -> None:
        self.format = model_format
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []

    def tensor(self, *shape: int, dtype: str = "float32", constant: bool = False) -> int:
        index = len(self.tensors)
        self.tensors.append(Tensor(index, f"t{index}", shape, dtype, constant=constant))
        return index

    def weight(self, *shape: int, dtype: str = "float32") -> int:
        return self.tensor(*shape, dtype=dtype, constant=True)

    def op(
        self,
        kind: OpKind,
        inputs: Sequence[int],
        outputs: Sequence[int],
        name: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.ops.append(
            Op(
                len(self.ops),
                kind,
                name or kind.name,
                tuple(inputs),
                tuple(outputs),
                attributes or {},
            )
        )

    def graph(self, inputs: Sequence[int] = (), outputs: Sequence[int] = ()) -> Graph:
        return Graph(
            name="sketch",
            tensors=tuple(self.tensors),
            ops=tuple(self.ops),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            format=self.format,
        )


def draw_graph(seed: int, num_ops: int) -> Graph:
    """Draw a random graph: operations that read any earlier tensors, some of them reshapes."""
    rng = random.Random(seed)
    sketch = GraphSketch()
    inputs = [sketch.tensor(1, rng.randrange(1, 5000)) for _ in range(rng.randrange(1, 3))]
    known = list(inputs)
    for _ in range(num_ops):
        reads = rng.sample(known[-6:], min(len(known), rng.randrange(1, 4)))
        if rng.random() < 0.2:
            kind, size = OpKind.RESHAPE, sketch.tensors[reads[0]].size
        else:
            kind, size = OpKind.ELEMENTWISE, rng.randrange(1, 5000)
        writes = [sketch.tensor(size, 1)]
        if kind is OpKind.ELEMENTWISE and rng.random() < 0.1:
            writes.append(sketch.tensor(rng.randrange(1, 100), dtype="int8"))
        sketch.op(kind, reads, writes)
        known += writes
    return sketch.graph(inputs, rng.sample(known, 2))

"""Running a viewed ONNX network operation by operation on many images at once.

What ``walk.Walk`` is for a ``.tflite``: every tensor has the form of the view, and every operation
runs once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph
from edgevision.quantization.qdq.runs import run_part
from edgevision.quantization.qdq.view import View, restore_constant

Array = np.ndarray[Any, Any]


class ViewWalk:
    """A network in the middle of a run over a set of images; a ``LayerWalk``.

    Args:
        model: ``ModelProto``; one input, batch 1.
        view: The same in TFLite's terms.
        images: (N, *input shape) as the model takes them.
        threads: Of the runtime.

    Attributes:
        graph: The network.
        live: (N, *shape) of every tensor that is still needed, by tensor index.
        position: Index of the next operation.
    """

    def __init__(self, model: Any, view: View, images: Array, *, threads: int = 1) -> None:
        self.graph: Graph = view.graph
        source = view.graph.inputs[0]
        self.live: dict[int, Array] = {source: view.turn(source, images)}
        self.position = 0
        self._model = model
        self._view = view
        self._threads = threads

    def advance(self, position: int) -> None:
        """Run all operations before ``position``."""
        if position > self.position:
            self.commit(self.try_ops(position - 1), position)

    def try_ops(
        self,
        last: int,
        constants: Mapping[int, Array] | None = None,
        given: Mapping[int, Array] | None = None,
    ) -> dict[int, Array]:
        """Run the operations up to ``last``, with other constants or inputs, without moving on.

        Args:
            last: Index of the last operation.
            constants: Values in place of the file's, by tensor index.
            given: (N, *shape) in place of what waits at the cut, by tensor index.

        Returns:
            (N, *shape) of what later operations need, by tensor index.
        """
        ops = self.graph.ops[self.position : last + 1]
        wanted = [t for op in ops for t in op.outputs if t >= 0 and self._is_needed(t, last + 1)]
        if not wanted:
            return {}
        known = {**self.live, **(given or {})}
        feeds = {self._name(t): self._view.restore(t, v) for t, v in known.items()}
        count = len(next(iter(known.values())))
        for tensor, values in (constants or {}).items():
            stored = restore_constant(self.graph, tensor, values)
            feeds[self._name(tensor)] = np.broadcast_to(stored, (count, *stored.shape))
        names = [self._name(t) for t in wanted]
        results = run_part(self._model, feeds, names, threads=self._threads)
        return {t: self._view.turn(t, v) for t, v in zip(wanted, results, strict=True)}

    def commit(self, outputs: Mapping[int, Array], position: int | None = None) -> None:
        """Move on with these outputs, and forget what nothing needs any more."""
        self.position = self.position + 1 if position is None else position
        self.live.update(outputs)
        self.live = {t: v for t, v in self.live.items() if self._is_needed(t, self.position)}

    def _is_needed(self, tensor: int, position: int) -> bool:
        readers = self.graph.consumers.get(tensor, ())
        return tensor in self.graph.outputs or any(index >= position for index in readers)

    def _name(self, tensor: int) -> str:
        return self.graph.tensors[tensor].name

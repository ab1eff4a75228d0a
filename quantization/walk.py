"""Running one network layer by layer on many images at once, so that a layer may change on the way.

Repairing layer after layer by running the whole network each time would cost its depth times as
much. Here every layer runs once: the network is cut into single layers and what lies between
them, and the activations of all images wait at the cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from edgevision.errors import UnsupportedOpError
from edgevision.graph.graph import ITEM_BYTES, Graph
from edgevision.graph.model_parts import Part, PartCutter
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.native_log import hide_announcements

Array = np.ndarray[Any, Any]

# Below this many images the second thread's interpreter costs more than it saves.
_IMAGES_PER_THREAD = 8


class Walk:
    """A network in the middle of a run over a set of images.

    Args:
        model: Bytes of the ``.tflite``; one input, batch 1.
        images: (N, *input shape) in the input's dtype.
        threads: Interpreters that share the images.

    Attributes:
        graph: The network.
        live: (N, *shape) of every tensor that is still needed, by tensor index.
        position: Index of the next operation.
    """

    def __init__(self, model: bytes, images: Array, threads: int) -> None:
        self.graph: Graph = read_tflite(model)
        self.live: dict[int, Array] = {self.graph.inputs[0]: images}
        self.position = 0
        self._cutter = PartCutter(model)
        self._num_images = len(images)
        self._threads = threads

    def advance(self, position: int) -> None:
        """Run all operations before ``position``."""
        if position > self.position:
            self.commit(self._run(self._cutter.cut(self.position, position)), position)

    def try_layer(
        self,
        constants: Mapping[int, Array] | None = None,
        images: slice = slice(None),
        *,
        scales: Mapping[int, Array] | None = None,
    ) -> dict[int, Array]:
        """Run the next operation, with other constants, without moving on.

        Args:
            constants: Values in place of the file's, by tensor index.
            images: Which images.
            scales: Of quantized tensors in place of the file's, by tensor index.

        Returns:
            (n, *shape) of its outputs, by tensor index.
        """
        part = self._cutter.cut(self.position, self.position + 1, constants, scales=scales)
        return self._run(part, images)

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
        part = self._cutter.cut(self.position, last + 1, constants)
        return self._run(part, given=given)

    def run_rest(self, outputs: Mapping[int, Array]) -> tuple[Array, ...]:
        """Return what the network would answer if the next operation gave this, without moving on.

        Args:
            outputs: (N, *shape) of its outputs, by tensor index.

        Returns:
            (N, *shape) for each output of the network.
        """
        last = len(self.graph.ops)
        given = {**self.live, **outputs}
        if self.position + 1 < last:
            part = self._cutter.cut(self.position + 1, last)
            given.update(self._run(part, given=given))
        return tuple(given[index] for index in self.graph.outputs)

    def commit(self, outputs: Mapping[int, Array], position: int | None = None) -> None:
        """Move on with these outputs, and forget what nothing needs any more."""
        self.position = self.position + 1 if position is None else position
        self.live.update(outputs)
        done = [t for t in self.live if not self._cutter.is_needed(t, self.position)]
        for tensor in done:
            del self.live[tensor]

    def _run(
        self,
        part: Part,
        images: slice = slice(None),
        *,
        given: Mapping[int, Array] | None = None,
    ) -> dict[int, Array]:
        if not part.outputs:
            return {}
        source = self.live if given is None else {**self.live, **given}
        inputs = [source[t][images] for t in part.inputs]
        count = len(inputs[0]) if inputs else 1
        shapes = [(count, *self.graph.tensors[t].shape) for t in part.outputs]
        dtypes = [self.graph.tensors[t].dtype for t in part.outputs]
        results = [np.empty(s, d) for s, d in zip(shapes, dtypes, strict=True)]
        run_images(part.model, inputs, results, threads=self._threads)
        if not inputs:  # computed from constants alone: the same for every image
            results = [np.broadcast_to(r, (self._num_images, *r.shape[1:])) for r in results]
        return dict(zip(part.outputs, results, strict=True))


def run_images(
    model: bytes, given: Sequence[Array], results: Sequence[Array], *, threads: int
) -> None:
    """Run a model on many images, each thread with an interpreter and images of its own.

    Args:
        model: Bytes of a ``.tflite``.
        given: (N, *shape) of each input.
        results: (N, *shape) of each output, filled in place.
        threads: Interpreters that share the images.

    Raises:
        UnsupportedOpError: The interpreter refuses the model.
    """
    count = len(results[0])
    edges = np.linspace(0, count, max(1, min(threads, count // _IMAGES_PER_THREAD)) + 1)
    spans = [range(a, b) for a, b in pairwise(edges.astype(int)) if b > a]
    if len(spans) == 1:
        _run_span(model, given, results, spans[0])
        return
    with ThreadPoolExecutor(len(spans)) as pool:
        jobs = [pool.submit(_run_span, model, given, results, span) for span in spans]
        for job in jobs:
            job.result()


def measure_image_bytes(graph: Graph) -> int:
    """Return the largest sum of what waits at one layer for one image: inputs and outputs."""
    peak = 0
    last = {t: i for t, readers in graph.consumers.items() for i in readers[-1:]}
    live: set[int] = set(graph.inputs)
    for op in graph.ops:
        live.update(t for t in op.outputs if t >= 0)
        size = sum(graph.tensors[t].size * ITEM_BYTES.get(graph.tensors[t].dtype, 4) for t in live)
        peak = max(peak, size)
        live = {t for t in live if last.get(t, -1) > op.index}
    return peak


def _run_span(model: bytes, given: Sequence[Array], results: Sequence[Array], span: range) -> None:
    """Run a model on some images; arrays are filled in place, each thread its own rows."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with hide_announcements():
            interpreter = Interpreter(model_content=model, num_threads=1)
            interpreter.allocate_tensors()
        inputs = [d["index"] for d in interpreter.get_input_details()]
        outputs = [d["index"] for d in interpreter.get_output_details()]
        for i in span:
            for index, values in zip(inputs, given, strict=True):
                interpreter.set_tensor(index, values[i])
            interpreter.invoke()
            for index, values in zip(outputs, results, strict=True):
                values[i] = interpreter.get_tensor(index)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedOpError(
            "the interpreter can not run a part of the quantized model",
            received=str(error).strip().partition("\n")[0],
            remedy="try --scheme dynamic or float16",
        ) from error

"""Running an ONNX network step by step on many images, so that a layer may change on the way.

Every layer runs once: what was computed waits until nothing that is still to come needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.quantization.qdq.runs import find_needed, run_part

Array = np.ndarray[Any, Any]


class OnnxWalk:
    """A network in the middle of a run over a set of images.

    Constants of the model may change between two calls; what was read before stays as it was.

    Args:
        model: ``ModelProto``; one input, batch 1.
        images: (N, *input shape).
        targets: Names of the tensors that will be read, as often as they are passed by, and those
            that are read at the end.
        threads: Of the runtime.
    """

    def __init__(
        self, model: Any, images: Array, targets: Sequence[str], *, threads: int = 1
    ) -> None:
        self._model = model
        self._live: dict[str, Array] = {model.graph.input[0].name: images}
        self._targets = list(targets)
        self._threads = threads

    @property
    def known(self) -> set[str]:
        """Names of the tensors that wait for what is still to come."""
        return set(self._live)

    def read(self, tensor: str) -> Array:
        """Compute a tensor for all images, (N, *shape), and keep it for what comes behind it."""
        if tensor not in self._live:
            self._live[tensor] = self.try_reading(tensor)
        return self._live[tensor]

    def try_reading(self, tensor: str, images: slice = slice(None)) -> Array:
        """Compute a tensor for some images, (n, *shape), and keep nothing."""
        given = {name: values[images] for name, values in self._live.items()}
        return run_part(self._model, given, [tensor], threads=self._threads)[0]

    def keep(self, tensor: str, values: Array) -> None:
        """Go on with these values of a tensor."""
        self._live[tensor] = values

    def pass_by(self, tensors: Sequence[str]) -> None:
        """Strike targets off the list, each once, and forget what nothing needs any more."""
        for name in tensors:
            self._targets.remove(name)
        needed = find_needed(self._model, self._live, self._targets)
        self._live = {name: values for name, values in self._live.items() if name in needed}

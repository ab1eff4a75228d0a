"""One model in a process of its own, ready to be timed whenever it is its turn."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from edgevision.benchmarks.latency import time_block, warm_up
from edgevision.benchmarks.probe import Probe, make_inputs, open_watched
from edgevision.errors import EdgeVisionError
from edgevision.runtime.session import Placement, Session
from edgevision.runtime.sessions import open_session
from edgevision.specs import TensorSpec

PHOTO_SIZE = (480, 640)
STEP_RUNS = 15
STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """What an answer to a photo costs beside the network, in milliseconds (medians).

    Attributes:
        preprocess: Resizing and normalizing a photo of 480 x 640 pixels that is already decoded.
        postprocess: From the raw outputs to classes, boxes or a mask of the photo's size.
    """

    preprocess: float
    postprocess: float

    def to_dict(self) -> dict[str, float]:
        """Return JSON-ready values."""
        return asdict(self)


class Station:
    """A model that is opened with ``probe``, then timed; lives in a child process.

    Args:
        path: A ``.tflite`` or ``.onnx`` file.
        device: Where it runs.
        threads: Threads of the interpreter.
        gpu_float32: Whether the GPU computes in float32 where it would take float16.
    """

    def __init__(self, path: str, device: str, threads: int | None, gpu_float32: bool) -> None:
        self._path = path
        self._settings = (device, threads, gpu_float32)
        self.session: Session
        self._first_ms = 0.0
        self._is_open = False

    def probe(self) -> Probe:
        """Open the model, run it once on random input, and tell what that took."""
        self.session, probe = open_watched(self._path, *self._settings)
        self._first_ms = probe.first_ms
        self._is_open = True
        return probe

    def release(self) -> None:
        """Close the model, so that another process can have its device; ``warm_up`` opens it."""
        self.session.close()
        gc.collect()
        self._is_open = False

    def warm_up(self) -> tuple[float, int]:
        """Run until the times are stable; return the first time, in ms, and the number of runs."""
        if not self._is_open:
            device, threads, gpu_float32 = self._settings
            self.session = open_session(
                self._path, device=device, threads=threads, gpu_float32=gpu_float32
            )
            self._is_open = True
        self.session.run(make_inputs(self.session))
        _, count = warm_up(self.session.invoke)
        return self._first_ms, count + 2

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        """Return the times of single runs over about ``seconds``, in ms."""
        return time_block(self.session.invoke, seconds, refill=refill)

    def time_steps(self) -> StepTimes | None:
        """Time what surrounds the network; ``None`` where the file does not say what it is for."""
        from edgevision.graph.contracts import complete_contract, read_contract
        from edgevision.graph.reader import read_graph
        from edgevision.runtime.load import create_predictor

        watch = _Stopwatch(self.session)
        try:
            graph = read_graph(self._path)
            contract = complete_contract(read_contract(self._path), graph, {})
            predictor = create_predictor(watch, contract, graph)
            photo = np.random.default_rng(0).integers(0, 256, (*PHOTO_SIZE, 3), dtype=np.uint8)
            predictor.predict(photo)
        except EdgeVisionError:
            return None
        before, after = [], []
        end = time.perf_counter() + STEP_SECONDS
        for _ in range(STEP_RUNS):
            start = time.perf_counter()
            predictor.predict(photo)
            done = time.perf_counter()
            before.append(watch.began - start)
            after.append(done - watch.ended)
            if done > end:
                break
        return StepTimes(preprocess=1e3 * median(before), postprocess=1e3 * median(after))


class _Stopwatch:
    """A session that remembers when its last run began and ended."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.began = self.ended = 0.0

    @property
    def backend(self) -> str:
        return self._session.backend

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._session.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._session.outputs

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        self.began = time.perf_counter()
        outputs = self._session.run(inputs)
        self.ended = time.perf_counter()
        return outputs

    def invoke(self) -> None:
        self._session.invoke()

    def placement(self) -> Placement:
        return self._session.placement()

    def close(self) -> None:
        self._session.close()

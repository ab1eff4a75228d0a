"""Stops at a target: as few layers as possible go back to float until the figures hold.

The default file comes first. Where it does not hold, activations are ranked by what their rounding
alone costs at the outputs (``sensitivity.py``); the worst one, two, four … of them are left in
float, with the layers that write and read them, until the target holds, and what turns out not to
be needed goes back. A file with more than half of its activations in float is no answer. Each file
tried is repaired, measured and timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgevision.errors import QualityGateError
from edgevision.graph.graph import Graph
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.pipeline import Prepared, Quantized, build_model
from edgevision.quantization.price import measure_price
from edgevision.quantization.search_report import (
    SearchReport,
    Trial,
    describe_best,
    refuse_target,
)
from edgevision.quantization.sensitivity import Sensitivity, measure_sensitivity
from edgevision.quantization.target import Target
from edgevision.specs import Scheme

_SHOWN = 5
_HALF = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a search ends with.

    Attributes:
        quantized: The model that holds the target.
        accuracy: Of it, where labelled images were given.
        report: How it was found; ``None`` without a target.
    """

    quantized: Quantized
    accuracy: Accuracy | None
    report: SearchReport | None


Measure = Callable[[Quantized], Accuracy | None]
"""Accuracy of a file on labelled images; ``None`` without such."""


def search_target(prepared: Prepared, target: Target, measure: Measure) -> Found:
    """Find the file with the fewest float layers that holds a target.

    Args:
        prepared: The network, ready for the engine.
        target: What has to hold.
        measure: Accuracy of a model.

    Raises:
        QualityGateError: It can not be reached; the best figures and the layers in the way are
            named.
    """
    session = _Session(prepared=prepared, target=target, measure=measure)
    if session.try_lifting(0) or not _may_lift(prepared):
        return session.finish()
    session.rank()
    enough = session.climb()
    if enough:
        session.descend(enough)
    return session.finish()


def find_island(graph: Graph, activations: Sequence[int]) -> list[int]:
    """Return the operations that have to run in float for activations not to be rounded.

    Args:
        graph: The float network.
        activations: Operations that write them, by index.
    """
    island = set(activations)
    for index in activations:
        island.update(graph.consumers.get(graph.ops[index].outputs[0], ()))
    return sorted(island)


@dataclass(slots=True, kw_only=True, eq=False)
class _Session:
    """The files tried so far."""

    prepared: Prepared
    target: Target
    measure: Measure
    start: float = field(default_factory=time.perf_counter)
    ranked: list[Sensitivity] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    plain: bytes = b""
    best: tuple[int, Quantized] | None = None

    def rank(self) -> None:
        """Order the activations by what their rounding costs."""
        options = self.prepared.options
        self.ranked = measure_sensitivity(
            self.prepared.final,
            self.prepared.kept,
            threads=options.threads,
            progress=options.progress,
        )

    def climb(self) -> int:
        """Lift 1, 2, 4 … activations, half of them at most; return how many were enough, else 0."""
        count, most = 1, max(1, len(self.ranked) // _HALF)
        while not self._is_late():
            if self.try_lifting(count):
                return count
            if count >= most:
                return 0
            count = min(_HALF * count, most)
        return 0

    def descend(self, enough: int) -> None:
        """Find the fewest that are enough, between what was and what was not."""
        low, high = enough // _HALF, enough
        while high - low > 1 and not self._is_late():
            middle = (low + high) // _HALF
            low, high = (low, middle) if self.try_lifting(middle) else (middle, high)

    def try_lifting(self, count: int) -> bool:
        """Make, measure and time the file with the ``count`` worst activations in float."""
        start = time.perf_counter()
        chosen = self.ranked[:count]
        graph = self.prepared.final.graph
        island = find_island(graph, [item.index for item in chosen])
        quantized = build_model(self.prepared, island)
        self.plain = self.plain or quantized.model
        accuracy = self.measure(quantized)
        drop = accuracy.drop if accuracy else None
        trial = Trial(
            lifted=tuple(item.name for item in chosen),
            ops=len(island),
            accuracy=accuracy,
            agreement=quantized.agreement,
            price=measure_price(quantized.model, self.plain, threads=self.prepared.options.threads),
            holds=self.target.holds(drop=drop, agreement=quantized.agreement),
            seconds=time.perf_counter() - start,
        )
        self.trials.append(trial)
        if trial.holds and (self.best is None or count < len(self.trials[self.best[0]].lifted)):
            self.best = (len(self.trials) - 1, quantized)
        return trial.holds

    def finish(self) -> Found:
        """Return the best file that holds, or refuse."""
        if self.best is None:
            raise self._refuse()
        place, quantized = self.best
        return Found(
            quantized=quantized,
            accuracy=self.trials[place].accuracy,
            report=SearchReport(
                target=self.target,
                trials=tuple(self.trials),
                chosen=place,
                num_images=len(self.prepared.kept),
            ),
        )

    def _is_late(self) -> bool:
        budget = self.target.budget_s
        return budget is not None and time.perf_counter() - self.start > budget

    def _refuse(self) -> QualityGateError:
        blocking = ", ".join(item.name for item in self.ranked[:_SHOWN])
        late = f"stopped after {self.target.budget_s:g} s; " if self._is_late() else ""
        way = f"most is lost at {blocking}; " if blocking else ""
        return refuse_target(
            self.target,
            describe_best(self.trials),
            remedy=f"{way}give more typical calibration images, or try --scheme int16x8",
            stopped=late,
        )


def _may_lift(prepared: Prepared) -> bool:
    """Whether layers may stay in float: where activations are integer, but not on the Edge TPU."""
    row = prepared.options.row
    return row.activation_bits > 0 and row.scheme is not Scheme.EDGETPU

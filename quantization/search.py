"""Stops at a target: as few layers as possible get more than 8 bits until the figures hold.

The default file comes first. Where it does not hold, activations are ranked by what their rounding
alone costs at the outputs (``sensitivity.py``); the worst one, two, four … of them are lifted to
float or to 16 bits, with the layers that write and read them, until the target holds, and what
turns out not to be needed goes back. A file with more than half of its activations lifted is no
answer. Each file tried is repaired, measured and timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgevision.errors import CalibrationError, QualityGateError
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.engine import list_16_bit_ops
from edgevision.quantization.islands import find_island, writes_output
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
from edgevision.specs import Lift, Scheme

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


def search_target(
    prepared: Prepared, target: Target, measure: Measure, *, keeps_outputs: bool = False
) -> Found:
    """Find the file with the fewest lifted layers that holds a target.

    Args:
        prepared: The network, ready for the engine.
        target: What has to hold.
        measure: Accuracy of a model.
        keeps_outputs: Whether the outputs have to stay in 8 bits.

    Raises:
        CalibrationError: Equal answers can not be counted on these images.
        QualityGateError: It can not be reached; the best figures and the layers in the way are
            named.
    """
    session = _Session(
        prepared=prepared, target=target, measure=measure, keeps_outputs=keeps_outputs
    )
    if session.try_lifting(0) or not _may_lift(prepared):
        return session.finish()
    session.rank()
    failed, enough = session.climb()
    session.descend(failed, enough)
    return session.finish()


@dataclass(slots=True, kw_only=True, eq=False)
class _Session:
    """The files tried so far."""

    prepared: Prepared
    target: Target
    measure: Measure
    keeps_outputs: bool
    start: float = field(default_factory=time.perf_counter)
    ranked: list[Sensitivity] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    plain: Quantized | None = None
    best: tuple[int, Quantized] | None = None
    stopped: bool = False

    def rank(self) -> None:
        """Order the activations that may be lifted by what their rounding costs."""
        options = self.prepared.options
        ranked = measure_sensitivity(
            self.prepared.final,
            self.prepared.kept,
            bits=options.row.activation_bits,
            threads=options.threads,
            progress=options.progress,
            is_late=self._is_late,
        )
        if self.stopped:  # only the first layers were seen, which names the wrong ones
            return
        graph = self.prepared.final.graph
        known = frozenset(range(len(graph.ops)))
        if self.target.lift is Lift.INT16:
            known = list_16_bit_ops(graph, options.row.scheme)
        for item in ranked:
            island = find_island(graph, item.writers)
            if self.keeps_outputs and writes_output(graph, island):
                continue
            if known.issuperset(island.ops):
                self.ranked.append(item)

    def climb(self) -> tuple[int, int]:
        """Lift 1, 2, 4 … activations, half of them at most, until that is enough.

        Returns:
            How many were too few, and how many enough; twice the same where none were.
        """
        failed, most = 0, len(self.ranked) // _HALF
        while failed < most and not self._is_late():
            count = min(max(1, _HALF * failed), most)
            if self.try_lifting(count):
                return failed, count
            failed = count
        return failed, failed

    def descend(self, failed: int, enough: int) -> None:
        """Find the fewest that are enough, between what was and what was not."""
        while enough - failed > 1 and not self._is_late():
            middle = (failed + enough) // _HALF
            failed, enough = (failed, middle) if self.try_lifting(middle) else (middle, enough)

    def try_lifting(self, count: int) -> bool:
        """Make, measure and time the file with the ``count`` worst activations lifted."""
        start = time.perf_counter()
        chosen, lift = self.ranked[:count], self.target.lift
        writers = [index for item in chosen for index in item.writers]
        island = find_island(self.prepared.final.graph, writers, lift)
        quantized = build_model(self.prepared, island)
        self._check_countable(quantized)
        accuracy = self.measure(quantized)
        drop = accuracy.drop if accuracy else None
        reference = self.plain.model if self.plain else None
        self.plain = self.plain or quantized
        threads = self.prepared.options.threads
        trial = Trial(
            lifted=tuple(item.name for item in chosen),
            lift=lift if chosen else None,
            ops=len(island.ops),
            accuracy=accuracy,
            agreement=quantized.agreement,
            model_bytes=len(quantized.model),
            price=measure_price(quantized.model, reference, threads=threads),
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
        """Whether the budget is spent; asked where there is more to do."""
        budget = self.target.budget_s
        self.stopped = budget is not None and time.perf_counter() - self.start > budget
        return self.stopped

    def _check_countable(self, quantized: Quantized) -> None:
        """Refuse a target that no file could hold, since there is nothing to count."""
        if self.target.min_agreement and quantized.agreement is None:
            raise CalibrationError(
                "equal answers can not be counted: the float model finds nothing on the "
                "calibration images, or what its outputs mean is not known",
                received=f"min_agreement={self.target.min_agreement}",
                remedy="give images that show what it looks for, or --max-drop with --eval",
            )

    def _refuse(self) -> QualityGateError:
        late = f"stopped after {self.target.budget_s:g} s; " if self.stopped else ""
        names = self._name_blocking()
        way = f"most is lost at {', '.join(names)}; " if names else ""
        return refuse_target(
            self.target,
            describe_best(self.trials),
            remedy=f"{way}{self._suggest()}",
            stopped=late,
        )

    def _name_blocking(self) -> list[str]:
        """Name the activations in the way; where they were not ranked, the noisiest layers."""
        if self.ranked:
            return [item.name for item in self.ranked[:_SHOWN]]
        layers = self.plain.layers if self.plain else ()
        noisy = sorted((r.sqnr_db, r.name) for r in layers if r.sqnr_db is not None)
        return [name for _, name in noisy[:_SHOWN]]

    def _suggest(self) -> str:
        row = self.prepared.options.row
        ways = ["give more typical calibration images"]
        if self.stopped:
            ways.append("a larger --budget")
        if self.target.lift is Lift.INT16:
            ways.append("--lift float")
        if row.activation_bits == 8 and row.scheme is not Scheme.EDGETPU:
            ways.append("--scheme int16x8")
        return f"{', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else ways[0]


def _may_lift(prepared: Prepared) -> bool:
    """Whether layers may be lifted: where activations are integer, but not on the Edge TPU."""
    row = prepared.options.row
    return row.activation_bits > 0 and row.scheme is not Scheme.EDGETPU

"""What a search for a target tried, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.errors import QualityGateError
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.price import Price
from edgevision.quantization.target import Target, find_interval
from edgevision.specs import Lift


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One file that was tried.

    Attributes:
        lifted: Activations that have more than 8 bits, by name.
        lift: What they were lifted to; ``None`` where nothing was.
        ops: Operations that were lifted for them.
        accuracy: On labelled images, where there are any.
        agreement: Share of the float model's answers on the calibration images.
        model_bytes: Size of the network.
        price: Latency, against the file without lifted layers.
        holds: Whether the target holds.
        seconds: Time it took.
    """

    lifted: tuple[str, ...]
    lift: Lift | None
    ops: int
    accuracy: Accuracy | None
    agreement: float | None
    model_bytes: int
    price: Price
    holds: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "lifted": list(self.lifted),
            "lift": None if self.lift is None else str(self.lift),
            "float_ops": self.ops if self.lift is Lift.FLOAT else 0,
            "int16_ops": self.ops if self.lift is Lift.INT16 else 0,
            "drop": self.accuracy.drop if self.accuracy else None,
            "agreement": self.agreement,
            "model_bytes": self.model_bytes,
            "latency_ms": round(self.price.latency_ms, 4),
            "latency_ratio": round(self.price.ratio, 3),
            "holds": self.holds,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchReport:
    """How the target was reached.

    Attributes:
        target: What had to hold.
        trials: Every file that was tried, in order.
        chosen: Place of the one that was written.
        num_images: Calibration images behind the agreement.
    """

    target: Target
    trials: tuple[Trial, ...]
    chosen: int
    num_images: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``agreement_interval`` is that of 95 %."""
        agreement = self.trials[self.chosen].agreement
        interval = None if agreement is None else list(find_interval(agreement, self.num_images))
        return {
            "max_drop": self.target.max_drop,
            "min_agreement": self.target.min_agreement,
            "reached": self.trials[self.chosen].holds,
            "chosen": self.chosen,
            "images": self.num_images,
            "agreement_interval": interval,
            "trials": [trial.to_dict() for trial in self.trials],
        }


def describe_target(target: Target) -> str:
    """Write a target for people.

    >>> describe_target(Target(max_drop=0.5, min_agreement=0.97))
    'at most 0.5 points lost, at least 97.0% equal answers'
    """
    parts = []
    if target.max_drop is not None:
        parts.append(f"at most {target.max_drop:g} points lost")
    if target.min_agreement is not None:
        parts.append(f"at least {target.min_agreement:.1%} equal answers")
    return ", ".join(parts)


def describe_best(trials: Sequence[Trial]) -> str:
    """Tell the best figures of all files, each with how much of it was lifted."""
    parts = []
    measured = [(t.accuracy, t) for t in trials if t.accuracy is not None]
    if measured:
        accuracy, trial = min(measured, key=lambda pair: pair[0].drop)
        parts.append(f"{accuracy.describe()}, {_describe_lift(trial)}")
    agreeing = [(t.agreement, t) for t in trials if t.agreement is not None]
    if agreeing:
        agreement, trial = max(agreeing, key=lambda pair: pair[0])
        parts.append(f"best agreement {agreement:.1%} with {_describe_lift(trial)}")
    return "; ".join(parts)


def _describe_lift(trial: Trial) -> str:
    if trial.lift is None:
        return "no operation lifted"
    return f"{trial.ops} operations in {trial.lift} ({trial.price.ratio:.2f} × the latency)"


def refuse_target(
    target: Target, figures: str, *, remedy: str, stopped: str = ""
) -> QualityGateError:
    """Return the error of a target that was not reached.

    Args:
        target: What had to hold.
        figures: The best that were measured; empty where none could be.
        remedy: What to do.
        stopped: Why nothing further was tried, if there was more.
    """
    return QualityGateError(
        f"{stopped}the target was not reached, so no file was written",
        received=f"{describe_target(target)}; {figures or 'no figure could be measured'}",
        remedy=remedy,
    )


def check_target(target: Target, accuracy: Accuracy | None, agreement: float | None) -> None:
    """Refuse the figures of an only file that do not hold a target.

    Raises:
        QualityGateError: With the figures.
    """
    if target.holds(drop=accuracy.drop if accuracy else None, agreement=agreement):
        return
    figures = [accuracy.describe()] if accuracy else []
    figures += [f"agreement {agreement:.1%}"] if agreement is not None else []
    raise refuse_target(
        target,
        "; ".join(figures),
        remedy="give more typical images, or quantize the .tflite: its layers can stay in float",
    )

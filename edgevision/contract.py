"""The contract: what a model file says about its own inputs and outputs.

It travels inside the file, so that preprocessing is the same in training, calibration, evaluation
and on the device. This module holds the values only; ``edgevision.graph.contracts`` reads them
from and writes them into files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.specs import ColorOrder, ResizeRule, ScoreKind, Task, parse_choice

CONTRACT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a decoded image becomes the model's input: resize, then ``(pixel - mean) / std``.

    Attributes:
        resize: ``stretch`` ignores the aspect ratio, ``crop`` takes a centred square of
            ``crop_fraction`` times the shorter side first (a rectangle of the input's aspect ratio
            for rectangular inputs), ``letterbox`` pads to the aspect ratio.
        crop_fraction: Used by ``crop`` only; in (0, 1].
        mean: One value, or one per channel, in units of 0–255 pixels.
        std: One value, or one per channel, above 0.
        color: Channel order that the model expects.
    """

    resize: ResizeRule = ResizeRule.STRETCH
    crop_fraction: float = 1.0
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    color: ColorOrder = ColorOrder.RGB

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", parse_choice(ResizeRule, self.resize, "resize"))
        object.__setattr__(self, "color", parse_choice(ColorOrder, self.color, "color"))
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if not 0 < self.crop_fraction <= 1:
            raise InvalidConfigError(
                "crop_fraction must be in (0, 1]", received=f"crop_fraction={self.crop_fraction}"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, 3):
                raise InvalidConfigError(
                    f"{name} takes 1 or 3 values",
                    received=f"{name}={getattr(self, name)}",
                    remedy="give one number, or one for each of red, green and blue",
                )
        if not all(map(isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise InvalidConfigError(
                "mean and std must be finite, and std above 0",
                received=f"mean={self.mean}, std={self.std}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything that a reader of the file needs besides shapes and dtypes.

    Attributes:
        task: What the model answers.
        labels: Class names in the order of the output, possibly empty.
        preprocessing: From image to input tensor.
        scores: Whether a classifier's outputs are probabilities or logits.
        name: Name of the model, for people.
        assumed: Names of the fields that the file does not state and that were filled in.
    """

    task: Task
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    scores: ScoreKind = ScoreKind.PROBABILITIES
    name: str = ""
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", parse_choice(Task, self.task, "task"))
        object.__setattr__(self, "scores", parse_choice(ScoreKind, self.scores, "scores"))
        object.__setattr__(self, "labels", tuple(str(v) for v in self.labels))
        object.__setattr__(self, "assumed", tuple(self.assumed))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``Contract.from_dict`` restores an equal contract."""
        return {"version": CONTRACT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Contract:
        """Build a contract from ``to_dict`` values; keys of later versions are ignored.

        Raises:
            InvalidConfigError: A value is out of range or of the wrong type.
        """
        try:
            known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            inner = known.pop("preprocessing", {})
            names = {f.name for f in fields(Preprocessing)}
            preprocessing = Preprocessing(**{k: v for k, v in inner.items() if k in names})
            return cls(**known, preprocessing=preprocessing)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidConfigError("not a model contract", received=error) from error

"""The contract: what a model file says about its own inputs and outputs.

It travels inside the file, so that preprocessing is the same in training, calibration, evaluation
and on the device. This module holds the values only; ``edgevision.graph.contracts`` reads them
from and writes them into files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf, isfinite
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
class AnchorGrid:
    """The anchors of one feature map: the same boxes around the centre of each of its cells.

    The centre of row ``i`` and column ``j`` is ``((i + 0.5) / rows, (j + 0.5) / columns)``. Anchors
    are counted by row, then column, then box.

    Attributes:
        size: (rows, columns) of the feature map.
        boxes: (height, width) of each anchor, as shares of the image.
    """

    size: tuple[int, int]
    boxes: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        rows, columns = self.size
        object.__setattr__(self, "size", (int(rows), int(columns)))
        object.__setattr__(self, "boxes", tuple((float(h), float(w)) for h, w in self.boxes))
        sides = [side for box in self.boxes for side in box]
        if min(self.size) < 1 or not sides or not all(0 < side < inf for side in sides):
            raise InvalidConfigError(
                "a grid of anchors has cells, and boxes with a size above 0",
                received=f"size={self.size}, boxes={self.boxes}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """From a detector's raw outputs to boxes (Liu et al. 2016, arXiv:1512.02325).

    A model that ends in non-maximum suppression has done this already; the fields then say how.

    Attributes:
        anchors: Grids in the order of the model's anchors; empty where the file does not say.
        box_scales: By what the offsets of centre y, centre x, height and width are divided.
        background: Whether the first column of the raw scores is the background; it has no label.
        score_threshold: Boxes that score below it are left out; in [0, 1].
        iou_threshold: Overlap above which the box with the lower score is left out; in (0, 1].
        max_detections: Most boxes in one image.
        class_agnostic: Whether boxes of different classes suppress each other.
    """

    anchors: tuple[AnchorGrid, ...] = ()
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    background: bool = True
    score_threshold: float = 0.01
    iou_threshold: float = 0.6
    max_detections: int = 100
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        y, x, h, w = (float(v) for v in self.box_scales)
        object.__setattr__(self, "box_scales", (y, x, h, w))
        object.__setattr__(self, "anchors", tuple(_as_grid(grid) for grid in self.anchors))
        if not all(0 < v < inf for v in self.box_scales):
            raise InvalidConfigError(
                "box_scales must be above 0", received=f"box_scales={self.box_scales}"
            )
        if not 0 <= self.score_threshold <= 1 or not 0 < self.iou_threshold <= 1:
            raise InvalidConfigError(
                "score_threshold must be in [0, 1] and iou_threshold in (0, 1]",
                received=f"score_threshold={self.score_threshold}, "
                f"iou_threshold={self.iou_threshold}",
            )
        if isinstance(self.max_detections, bool) or int(self.max_detections) < 1:
            raise InvalidConfigError(
                "max_detections must be at least 1",
                received=f"max_detections={self.max_detections}",
            )

    @property
    def num_anchors(self) -> int:
        """Number of anchors, 0 where the file does not say."""
        return sum(grid.size[0] * grid.size[1] * len(grid.boxes) for grid in self.anchors)


def _as_grid(value: AnchorGrid | Mapping[str, Any]) -> AnchorGrid:
    """Accept a grid, or its dictionary out of JSON."""
    return value if isinstance(value, AnchorGrid) else AnchorGrid(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything that a reader of the file needs besides shapes and dtypes.

    Attributes:
        task: What the model answers.
        labels: Class names in the order of the output, possibly empty. A segmenter's begin with
            its background, where it has one; a detector's leave it out.
        preprocessing: From image to input tensor.
        scores: Whether the scores of a classifier, detector or segmenter are probabilities or
            logits.
        name: Name of the model, for people.
        detection: Of a detector: how its outputs become boxes.
        assumed: Names of the fields that the file does not state and that were filled in.
    """

    task: Task
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    scores: ScoreKind = ScoreKind.PROBABILITIES
    name: str = ""
    detection: Detection | None = None
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
            if known.get("detection") is not None:
                known["detection"] = Detection(**_pick_fields(Detection, known["detection"]))
            preprocessing = Preprocessing(**_pick_fields(Preprocessing, inner))
            return cls(**known, preprocessing=preprocessing)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidConfigError("not a model contract", received=error) from error


def _pick_fields(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a dataclass knows; later versions may write more."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in values.items() if name in names}

"""What a sweep consists of: its grid, and the settings that all of its points share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.models.config import parse_size
from edgevision.models.registry import SPECS, InputSize, configure, get_spec
from edgevision.specs import Task

SCORES = {Task.CLASSIFY: "top1", Task.DETECT: "map", Task.SEGMENT: "mean_iou"}
"""The figure of ``evaluate`` by which networks of a task are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """One network at one width and input size.

    Attributes:
        name: What ``create_model`` takes.
        alpha: Width multiplier.
        input_size: ``(height, width)``.
    """

    name: str
    alpha: float
    input_size: tuple[int, int]

    @property
    def key(self) -> str:
        """Name of its folder.

        >>> GridPoint(name="mobilenet_v1", alpha=0.25, input_size=(96, 128)).key
        'mobilenet_v1_0.25_96x128'
        """
        height, width = self.input_size
        return f"{self.name}_{self.alpha:g}_{height}x{width}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"name": self.name, "alpha": self.alpha, "input_size": list(self.input_size)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GridPoint:
        """Return the point that ``to_dict`` described."""
        return cls(**{**values, "input_size": tuple(values["input_size"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """What all points of a sweep share; a sweep goes on only with the same.

    Attributes:
        data: Absolute path of the images to learn from, which also calibrate.
        val_data: Absolute path of the images to judge by; empty where ``data`` has a part for it.
        weights: What training starts from, as ``train`` takes it.
        seed: Of every training.
        skip_broken: Whether images that can not be read are left out.
        training: Further options of ``train`` that were given, such as ``epochs``.
    """

    data: str
    val_data: str = ""
    weights: str = "none"
    seed: int = 0
    skip_broken: bool = False
    training: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def plan_grid(
    families: Sequence[str], alphas: Sequence[float], input_sizes: Sequence[InputSize]
) -> tuple[GridPoint, ...]:
    """Return every combination, each checked before anything is trained.

    Args:
        families: Names of the zoo, or of families such as ``mobilenet_v3`` for all its classifiers.
        alphas: Widths.
        input_sizes: Sides, or ``(height, width)``.

    Raises:
        InvalidConfigError: Nothing was named, an unknown name, networks of different tasks, or a
            width or size that a network can not have.
    """
    for what, values in (("families", families), ("alphas", alphas), ("input sizes", input_sizes)):
        if not values:
            raise InvalidConfigError(
                f"a grid needs {what}", received="none", remedy="name at least one"
            )
    names = dict.fromkeys(name for family in families for name in _expand_family(family))
    tasks = {get_spec(name).task: name for name in names}
    if len(tasks) > 1:
        raise InvalidConfigError(
            "networks of different tasks can not be compared",
            received=", ".join(f"{name} ({task.value})" for task, name in tasks.items()),
            remedy="sweep one task at a time",
        )
    points = [
        GridPoint(name=name, alpha=float(alpha), input_size=parse_size(size))
        for name in names
        for alpha in alphas
        for size in input_sizes
    ]
    for point in points:
        configure(point.name, alpha=point.alpha, input_size=point.input_size)
    return tuple(dict.fromkeys(points))


def find_val_folders(task: Task, data: Path, val_data: Path | None) -> tuple[Path, Path | None]:
    """Return where a sweep learns and where it judges.

    A classifier's class folders do not say which images are for judging, so that two folders are
    needed, or ``train`` and ``val`` inside one. Detection and segmentation data tell themselves.

    Raises:
        InvalidConfigError: A classifier has no images to be judged by.
    """
    if val_data is not None or task is not Task.CLASSIFY:
        return data, val_data
    train, val = data / "train", data / "val"
    if train.is_dir() and val.is_dir():
        return train, val
    raise InvalidConfigError(
        "a sweep needs images that the networks do not learn from",
        received=f"--data {data}",
        remedy="give --val-data, or put the folders train and val into it",
    )


def _expand_family(family: str) -> tuple[str, ...]:
    if family in SPECS:
        return (family,)
    members = tuple(name for name, spec in SPECS.items() if spec.family == family)
    return members or (get_spec(family).name,)

"""Everything that decides how a network is trained, as one value that can be repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypedDict

from edgevision.errors import InvalidConfigError
from edgevision.specs import Task, Upsampling, parse_choice

# Trained weights want small steps; a network that starts from noise wants large ones.
FINE_TUNE_LEARNING_RATE = 1e-4
SCRATCH_LEARNING_RATE = 2e-2
# Few images and many features: MobileNetV1's own 0.001 lets the head learn them by heart.
FINE_TUNE_DROPOUT = 0.2


class BoxLoss(StrEnum):
    """How a detector's classifier copes with far more background than objects."""

    HARD_NEGATIVES = "hard-negatives"
    FOCAL = "focal"


class TrainingOptions(TypedDict, total=False):
    """Keywords of ``train``: the fields of ``TrainingConfig`` that may be left out."""

    val_fraction: float
    epochs: int
    head_epochs: int
    batch_size: int
    learning_rate: float
    fine_tune_learning_rate: float | None
    weight_decay: float
    warmup_fraction: float
    alpha: float
    input_size: int | tuple[int, int] | None
    weights: str | Path | None
    dropout: float | None
    label_smoothing: float
    mixup: float
    class_weights: bool
    augment: bool
    flip: bool
    early_stopping: int
    seed: int
    box_loss: BoxLoss | str
    upsampling: Upsampling | str
    dice_weight: float
    ignore_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a network is trained. The defaults are those of a classifier; see ``plan_training``.

    Attributes:
        name: Network, a name of the registry.
        val_fraction: Share of the images held out when no validation data is given, in (0, 1).
        epochs: Passes over the training images with the whole network trainable; 0 is allowed
            where a head is trained first.
        head_epochs: Passes that train the new head first, on the frozen backbone; without
            ``weights`` there is nothing to freeze and this is not used. With ``epochs`` at 0 the
            backbone stays frozen.
        batch_size: Images per step.
        learning_rate: Peak of the head's schedule.
        fine_tune_learning_rate: Peak of the schedule of the whole network; ``None`` means 0.0001
            with ``weights`` and 0.02 without.
        weight_decay: Decoupled weight decay (AdamW, Loshchilov and Hutter 2019) of kernels.
        warmup_fraction: Share of a schedule's steps that climb from 0 to its peak, in [0, 1).
        alpha: Width multiplier.
        input_size: ``None`` for the network's own; one number, or (height, width).
        weights: ``None``, ``"imagenet"``, or a ``.keras`` or ``.h5`` file.
        dropout: Rate before the head; ``None`` means 0.2 with ``weights``, and the network's own
            without.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        mixup: Parameter of the Beta distribution (Zhang et al. 2018); 0 switches mixup off.
        class_weights: Whether rare classes count more, by the inverse of their frequency.
        augment: Whether training images are cropped, turned, mirrored and recoloured at random.
        flip: Whether mirroring is part of it (not for letters or traffic signs).
        early_stopping: Epochs without a better validation result before a phase ends; 0 for never.
            Long by default, since the last, small steps of a cosine schedule often help most. The
            best weights are kept either way.
        seed: Decides the split, the order, the augmentation and the first weights.
        box_loss: Of a detector: ``hard-negatives`` (three times as many as there are positives,
            Liu et al. 2016) or ``focal`` (Lin et al. 2017, arXiv:1708.02002).
        upsampling: Of a segmenter: how its decoder doubles the resolution.
        dice_weight: Of a segmenter: weight of the Dice loss (Milletari et al. 2016,
            arXiv:1606.04797) beside the cross entropy.
        ignore_index: Of a segmenter: this value of the masks counts as no class; 255 always does.
    """

    name: str
    val_fraction: float = 0.2
    epochs: int = 20
    head_epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 3e-3
    fine_tune_learning_rate: float | None = None
    weight_decay: float = 1e-4
    warmup_fraction: float = 0.1
    alpha: float = 1.0
    input_size: tuple[int, int] | None = None
    weights: str | None = None
    dropout: float | None = None
    label_smoothing: float = 0.1
    mixup: float = 0.0
    class_weights: bool = False
    augment: bool = True
    flip: bool = True
    early_stopping: int = 15
    seed: int = 0
    box_loss: BoxLoss = BoxLoss.HARD_NEGATIVES
    upsampling: Upsampling = Upsampling.BILINEAR
    dice_weight: float = 1.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", _as_size(self.input_size))
        if self.weights is not None:
            object.__setattr__(self, "weights", str(self.weights))
        object.__setattr__(self, "box_loss", parse_choice(BoxLoss, self.box_loss, "box_loss"))
        upsampling = parse_choice(Upsampling, self.upsampling, "upsampling")
        object.__setattr__(self, "upsampling", upsampling)
        _check_integer("head_epochs", self.head_epochs, 0)
        _check_integer("epochs", self.epochs, 0)
        if not self.epochs and not self.has_head_phase:
            raise InvalidConfigError(
                "without epochs of the whole network there must be weights whose head is trained",
                received=f"epochs=0, weights={self.weights}, head_epochs={self.head_epochs}",
                remedy="give --weights and --head-epochs, or --epochs of 1 or more",
            )
        _check_integer("batch_size", self.batch_size, 1)
        if self.ignore_index is not None:
            _check_integer("ignore_index", self.ignore_index, 0)
        _check_integer("early_stopping", self.early_stopping, 0)
        _check_integer("seed", self.seed, 0)
        _check_range("val_fraction", self.val_fraction, 0, 1, open_low=True)
        for name in ("warmup_fraction", "label_smoothing", "dropout"):
            if (value := getattr(self, name)) is not None:
                _check_range(name, value, 0, 1)
        for name in ("learning_rate", "alpha", "peak_learning_rate"):
            _check_range(name, getattr(self, name), 0, math.inf, open_low=True)
        for name in ("weight_decay", "mixup", "dice_weight"):
            _check_range(name, getattr(self, name), 0, math.inf)

    @property
    def peak_learning_rate(self) -> float:
        """Peak of the schedule that trains the whole network."""
        if self.fine_tune_learning_rate is not None:
            return self.fine_tune_learning_rate
        return SCRATCH_LEARNING_RATE if self.weights is None else FINE_TUNE_LEARNING_RATE

    @property
    def head_dropout(self) -> float | None:
        """Dropout rate before the head; ``None`` for the network's own."""
        if self.dropout is None and self.weights is not None:
            return FINE_TUNE_DROPOUT
        return self.dropout

    @property
    def has_head_phase(self) -> bool:
        """Whether a head is trained on a frozen backbone first."""
        return self.weights is not None and self.head_epochs > 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``TrainingConfig.from_dict`` restores an equal config."""
        values = asdict(self)
        values["input_size"] = list(self.input_size) if self.input_size else None
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Build a config from ``to_dict`` values.

        Raises:
            InvalidConfigError: An unknown name, or a value out of range.
        """
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise InvalidConfigError(
                "unknown training option",
                received=", ".join(unknown),
                remedy=f"the options are {', '.join(known)}",
            )
        return cls(**values)

    def differences(self, other: TrainingConfig) -> tuple[str, ...]:
        """Name what differs, as ``epochs 20 → 30``.

        >>> TrainingConfig(name="n").differences(TrainingConfig(name="n", epochs=30))
        ('epochs 20 → 30',)
        """
        old, new = self.to_dict(), other.to_dict()
        return tuple(f"{name} {old[name]} → {new[name]}" for name in old if old[name] != new[name])


# What is new learns fast on a frozen backbone; then everything learns slowly enough for the
# backbone to stay what it is. Both tasks learn until the end of the schedule: no early stopping.
_DENSE = {
    "epochs": 60,
    "head_epochs": 3,
    "learning_rate": 1e-2,
    "fine_tune_learning_rate": 2e-3,
    "label_smoothing": 0.0,
    "early_stopping": 0,
}
_DETECT = {**_DENSE, "batch_size": 16}
_SEGMENT = {**_DENSE, "batch_size": 8}
_DEFAULTS: Mapping[Task, Mapping[str, Any]] = {Task.DETECT: _DETECT, Task.SEGMENT: _SEGMENT}

_SOME_TASKS: Mapping[str, tuple[Task, ...]] = {
    "label_smoothing": (Task.CLASSIFY,),
    "mixup": (Task.CLASSIFY,),
    "dropout": (Task.CLASSIFY,),
    "class_weights": (Task.CLASSIFY, Task.SEGMENT),
    "box_loss": (Task.DETECT,),
    "upsampling": (Task.SEGMENT,),
    "dice_weight": (Task.SEGMENT,),
    "ignore_index": (Task.SEGMENT,),
}


def plan_training(task: Task, name: str, options: Mapping[str, Any]) -> TrainingConfig:
    """Fill in what the task usually takes.

    Args:
        task: What the network answers.
        name: The network.
        options: What the caller chose; options of another task are refused.

    Raises:
        InvalidConfigError: An option is unknown, out of range, or belongs to another task.

    >>> plan_training(Task.CLASSIFY, "n", {}).batch_size, plan_training(
    ...     Task.DETECT, "n", {"epochs": 5}
    ... ).epochs
    (32, 5)
    """
    foreign = [key for key in options if task not in _SOME_TASKS.get(key, tuple(Task))]
    if foreign:
        allowed = " and ".join(kind.value for kind in _SOME_TASKS[foreign[0]])
        raise InvalidConfigError(
            f"{foreign[0]} is an option for {allowed} networks only",
            received=f"{foreign[0]}={options[foreign[0]]}, {name} is for {task}",
            remedy="leave it out",
        )
    return TrainingConfig.from_dict({"name": name, **_DEFAULTS.get(task, {}), **options})


def _as_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    size = (value, value) if isinstance(value, int) else tuple(value)
    if len(size) != 2 or not all(isinstance(v, int) and v > 0 for v in size):
        raise InvalidConfigError(
            "input_size is one number above 0 or (height, width)", received=f"input_size={value}"
        )
    return size[0], size[1]


def _check_integer(name: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise InvalidConfigError(
            f"{name} must be a whole number of at least {low}", received=f"{name}={value}"
        )


def _check_range(
    name: str, value: float, low: float, high: float, *, open_low: bool = False
) -> None:
    if not (low < value if open_low else low <= value) or not value < high:
        if math.isinf(high):
            rule = f"{name} must be {'above' if open_low else 'at least'} {low:g}"
        else:
            rule = f"{name} must be in {'(' if open_low else '['}{low:g}, {high:g})"
        raise InvalidConfigError(rule, received=f"{name}={value}")

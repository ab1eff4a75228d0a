"""What the demo does: three tasks on one backbone, each from images to a verified int8 file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevision.specs import Task

PHOTOS, SCENES = "photos", "scenes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One task of the demo.

    Attributes:
        task: What is learned.
        name: How its files are called.
        network: A name of the zoo.
        data: Folder of its images, below ``data``.
        training: Options of ``train``.
        metric: Figure of ``evaluate`` that counts.
        figure: What a person calls it.
        min_score: What the int8 file must reach, a share.
        max_drop: What it may lose against the float file, a share.
    """

    task: Task
    name: str
    network: str
    data: str
    training: Mapping[str, Any]
    metric: str
    figure: str
    min_score: float
    max_drop: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterPaths:
    """What one chapter writes, below the demo's folder."""

    folder: Path
    chapter: Chapter

    @property
    def data(self) -> Path:
        """Its images."""
        return self.folder / "data" / self.chapter.data

    @property
    def train_data(self) -> Path:
        """The images that it learns from; detectors and segmenters tell the parts themselves."""
        return self.data / "train" if self.chapter.task is Task.CLASSIFY else self.data

    @property
    def val_data(self) -> Path:
        """The images that it is judged by."""
        return self.data / "val" if self.chapter.task is Task.CLASSIFY else self.data

    @property
    def photos(self) -> Path:
        """Plain images like those that it learned from, for calibration."""
        return self.data / "train"

    @property
    def unseen(self) -> Path:
        """Plain images that it never saw."""
        return self.data / "val"

    @property
    def run(self) -> Path:
        """The training run."""
        return self.folder / "runs" / self.chapter.name

    @property
    def keras_model(self) -> Path:
        """The trained model."""
        return self.run / "model.keras"

    @property
    def float_model(self) -> Path:
        """The converted float32 file."""
        return self.folder / f"{self.chapter.name}.tflite"

    @property
    def int8_model(self) -> Path:
        """The file that ships."""
        return self.folder / f"{self.chapter.name}_int8.tflite"

    @property
    def onnx_model(self) -> Path:
        """The float model as ONNX."""
        return self.folder / f"{self.chapter.name}.onnx"

    @property
    def models(self) -> tuple[Path, Path, Path]:
        """All deployed files."""
        return self.float_model, self.int8_model, self.onnx_model

    @property
    def pictures(self) -> Path:
        """Images with the int8 file's answers drawn in."""
        return self.folder / "pictures" / self.chapter.name


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """One generated data set of the demo.

    Attributes:
        name: Its folder below ``data``.
        options: Of ``write_dataset``.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


ALPHA = 0.25

DATA = (
    DataPlan(name=PHOTOS, options={"num_train": 1600, "num_val": 400, "size": 80, "masks": True}),
    DataPlan(
        name=SCENES, options={"num_train": 1600, "num_val": 200, "size": 128, "num_objects": 2}
    ),
)

# No two generated images are alike: on a trained backbone they need no further variation.
_ON_A_BACKBONE = {"batch_size": 32, "augment": False}

CHAPTERS = (
    Chapter(
        task=Task.CLASSIFY,
        name="classifier",
        network="mobilenet_v1",
        data=PHOTOS,
        training={"input_size": 64, "epochs": 24, "batch_size": 32},
        metric="top1",
        figure="top-1",
        min_score=0.95,
    ),
    Chapter(
        task=Task.DETECT,
        name="detector",
        network="ssd_mobilenet_v1",
        data=SCENES,
        training={
            **_ON_A_BACKBONE,
            "input_size": 128,
            "head_epochs": 3,
            "learning_rate": 1.5e-2,
            "epochs": 3,
            "fine_tune_learning_rate": 4e-3,
        },
        metric="map50",
        figure="mAP50",
        min_score=0.90,
        max_drop=0.02,
    ),
    Chapter(
        task=Task.SEGMENT,
        name="segmenter",
        network="unet_mobilenet_v1",
        data=PHOTOS,
        training={
            **_ON_A_BACKBONE,
            "input_size": 64,
            "head_epochs": 7,
            "learning_rate": 1e-2,
            "epochs": 0,
        },
        metric="mean_iou",
        figure="mean IoU",
        min_score=0.85,
    ),
)

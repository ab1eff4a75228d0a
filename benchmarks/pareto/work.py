"""One point of a sweep: train, convert, quantize, evaluate, each a command in a child process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.benchmarks.pareto.children import ChildFailedError, Children
from edgevision.benchmarks.pareto.sweep import GridPoint, SweepSettings
from edgevision.benchmarks.profile import profile

OK, FAILED = "ok", "failed"

MODEL, FLOAT, INT8 = "model.keras", "float.tflite", "int8.tflite"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointWork:
    """What one worker is given.

    Attributes:
        point: The network.
        settings: What all points share.
        folder: Where its files go.
    """

    point: GridPoint
    settings: SweepSettings
    folder: Path


def run_point(work: PointWork, children: Children) -> dict[str, Any]:
    """Train and measure a network; a failure is a result as well.

    A training that was killed goes on from its last epoch. Latency is not measured here.

    Returns:
        ``point``, ``status``, ``reason``, ``stage`` (the one that failed), ``seconds``, and of a
        finished point ``accuracy`` and ``float_accuracy`` (documents of ``evaluate``), ``macs``,
        ``params``, ``file_bytes`` and ``peak_activation_bytes`` of the int8 file.
    """
    start = time.monotonic()
    record: dict[str, Any] = {"point": work.point.to_dict(), "status": OK, "reason": ""}
    for stage, arguments in list_stages(work).items():
        try:
            record[stage] = children.run(arguments)
        except ChildFailedError as error:
            record |= {"status": FAILED, "stage": stage, "reason": str(error)}
            break
    else:
        record |= _measure(work.folder / INT8)
    kept = {key: record[key] for key in _KEPT if key in record}
    for key in _FIGURES:
        if key in kept:  # without the figures of single classes
            kept[key] = {k: v for k, v in kept[key].items() if isinstance(v, int | float)}
    return kept | {"seconds": round(time.monotonic() - start, 1)}


def list_stages(work: PointWork) -> dict[str, list[str]]:
    """Return the command line of each stage, in order.

    >>> point = GridPoint(name="mobilenet_v1", alpha=0.25, input_size=(96, 96))
    >>> settings = SweepSettings(data="photos", val_data="val", training={"epochs": 3})
    >>> work = PointWork(point=point, settings=settings, folder=Path("run"))
    >>> list(list_stages(work)), list_stages(work)["train"][-2:]
    (['train', 'convert', 'quantize', 'float_accuracy', 'accuracy'], ['--epochs', '3'])
    """
    folder, settings = work.folder, work.settings
    keras, float_file, int8_file = (
        folder / "run" / MODEL,
        folder / FLOAT,
        folder / INT8,
    )
    broken = ["--skip-broken"] if settings.skip_broken else []
    judged = ["--data", settings.val_data or settings.data, *broken]
    return {
        "train": [*_write_training(work), *broken, *_write_options(settings.training)],
        "convert": ["convert", str(keras), "-o", str(float_file)],
        "quantize": [
            *("quantize", str(float_file), "-o", str(int8_file)),
            *("--calibration", settings.data, *broken),
        ],
        "float_accuracy": ["evaluate", str(float_file), *judged],
        "accuracy": ["evaluate", str(int8_file), *judged],
    }


def _write_training(work: PointWork) -> list[str]:
    point, settings = work.point, work.settings
    height, width = point.input_size
    command = ["train", point.name, "--data", settings.data]
    if settings.val_data:
        command += ["--val-data", settings.val_data]
    return [
        *command,
        *("--output", str(work.folder / "run"), "--resume"),
        *("--alpha", repr(point.alpha), "--input-size", f"{height}x{width}"),
        *("--weights", settings.weights, "--seed", str(settings.seed)),
    ]


def _write_options(options: Mapping[str, int]) -> list[str]:
    return [
        word for k, value in options.items() for word in (f"--{k.replace('_', '-')}", str(value))
    ]


_COSTS = ("macs", "params", "file_bytes", "peak_activation_bytes")
_FIGURES = ("accuracy", "float_accuracy")
_KEPT = ("point", "status", "stage", "reason", *_FIGURES, *_COSTS)


def _measure(file: Path) -> dict[str, Any]:
    cost = profile(file)
    return {key: getattr(cost, key) for key in _COSTS}

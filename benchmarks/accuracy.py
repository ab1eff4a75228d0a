"""Accuracy of the file that ships, measured through its own contract."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgevision.errors import EdgeVisionError, InvalidModelError
from edgevision.graph.contracts import complete_contract, read_contract
from edgevision.graph.reader import read_graph
from edgevision.runtime.evaluate import Evaluation
from edgevision.runtime.evaluate_detect import DetectionEvaluation
from edgevision.runtime.evaluate_segment import SegmentationEvaluation
from edgevision.runtime.evaluation import AnyEvaluation, evaluate_model, find_part, read_data
from edgevision.runtime.load import load
from edgevision.specs import Device, Part, Progress, Task

__all__ = [
    "DetectionEvaluation",
    "Evaluation",
    "SegmentationEvaluation",
    "check_data",
    "evaluate",
]


def evaluate(
    path: str | Path,
    data: str | Path,
    *,
    device: Device | str = Device.CPU,
    threads: int | None = None,
    gpu_float32: bool = False,
    part: Part | str | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> AnyEvaluation:
    """Measure the accuracy of a model file on labelled images.

    Args:
        path: A ``.tflite`` or ``.onnx`` file, float or quantized.
        data: What the model's task needs: a folder of class folders or one with ``labels.csv``;
            boxes as ``read_boxes`` takes them; or images and masks as ``read_masks`` does.
        device: Where the model runs.
        threads: CPU threads.
        gpu_float32: Whether the GPU computes in float32 where it would take float16.
        part: ``train``, ``val`` or ``test``. By default, of data for detectors and segmenters that
            tell their parts, the validation part, else the test part; ``notes`` says so.
        skip_broken: Leave out images that can not be read; they are listed in the result.
        progress: Called with stage, done and total.
        **overrides: Parts of the contract, as for ``load``: ``labels``, ``mean``, ``std`` …

    Returns:
        ``Evaluation`` of a classifier, ``DetectionEvaluation`` or ``SegmentationEvaluation``.

    Raises:
        MissingFileError: The file or the folder does not exist.
        InvalidModelError: The file is damaged.
        DataError: Broken images, no such part, or labels that do not fit the model.
        DelegateError: The device can not be used.
        BackendUnavailableError: A detector is measured without pycocotools.
    """
    model = load(path, device=device, threads=threads, gpu_float32=gpu_float32, **overrides)
    return evaluate_model(model, data, part=part, skip_broken=skip_broken, progress=progress)


def check_data(files: Iterable[str | Path], data: str | Path, *, skip_broken: bool = False) -> None:
    """Hold that data fits the task of at least one model, before any of them is measured.

    Raises:
        MissingFileError: The data does not exist.
        DataError: It fits none.
    """
    tasks = dict.fromkeys(task for file in files if (task := _tell_task(file)) is not None)
    failures = []
    for task in tasks:
        try:
            read_data(task, data, part=find_part(task, data, None), skip_broken=skip_broken)
        except EdgeVisionError as error:
            failures.append(error)
        else:
            return
    if failures:
        raise failures[0]


def _tell_task(file: str | Path) -> Task | None:
    """Tell the task of a file; ``None`` where nobody can: its row will say so."""
    try:
        return complete_contract(read_contract(file), read_graph(file), {}).task
    except InvalidModelError:
        return None

"""Accuracy of the file that ships, measured through its own contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from edgevision.data.boxes import BoxDataset, list_box_parts, read_boxes
from edgevision.data.folders import ImageDataset, read_dataset
from edgevision.data.masks import MaskDataset, list_mask_parts, read_masks
from edgevision.data.parts import find_part_folders, pick_part
from edgevision.errors import EdgeVisionError, InvalidModelError
from edgevision.graph.contracts import complete_contract, read_contract
from edgevision.graph.reader import read_graph
from edgevision.runtime.detect import Detector
from edgevision.runtime.evaluate import Evaluation, evaluate_classifier
from edgevision.runtime.evaluate_detect import DetectionEvaluation, evaluate_detector
from edgevision.runtime.evaluate_segment import SegmentationEvaluation, evaluate_segmenter
from edgevision.runtime.load import load
from edgevision.runtime.segment import Segmenter
from edgevision.specs import Device, Part, Progress, Task, parse_choice

__all__ = [
    "AnyEvaluation",
    "DetectionEvaluation",
    "Evaluation",
    "SegmentationEvaluation",
    "check_data",
    "evaluate",
    "read_data",
]

AnyEvaluation = Evaluation | DetectionEvaluation | SegmentationEvaluation
AnyDataset = ImageDataset | BoxDataset | MaskDataset
Result = TypeVar("Result", Evaluation, DetectionEvaluation, SegmentationEvaluation)


def evaluate(
    path: str | Path,
    data: str | Path,
    *,
    device: Device | str = Device.CPU,
    threads: int | None = None,
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
    model = load(path, device=device, threads=threads, **overrides)
    task, chosen = model.contract.task, find_part(model.contract.task, data, part)
    labels = model.labels if model.contract.labels else ()
    dataset = read_data(
        task, data, labels=labels, part=chosen, skip_broken=skip_broken, progress=progress
    )
    notes = []
    if chosen is not None and part is None:
        notes.append(f"measured on the {chosen} part of the data; --part names another")
    if model.contract.assumed:
        notes.append(f"the file does not say {', '.join(model.contract.assumed)}: assumed")
    return _measure(model, dataset, notes, progress)


def find_part(task: Task, data: str | Path, part: Part | str | None) -> Part | None:
    """Choose what part of the data to measure on; ``None`` for all of it.

    Args:
        task: Of the model.
        data: As for ``evaluate``.
        part: What the caller asks for, if anything.

    Raises:
        InvalidConfigError: There is no such kind of part.
        MissingFileError: The data does not exist.
        DataError: It is of no format that fits the task.
    """
    if part is not None:
        return parse_choice(Part, part, "part")
    if task is Task.CLASSIFY:
        return None
    known = list_box_parts(data) if task is Task.DETECT else list_mask_parts(data)
    return next((p for p in (Part.VAL, Part.TEST) if p in known), None)


def read_data(
    task: Task,
    data: str | Path,
    *,
    labels: Sequence[str] = (),
    part: Part | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> AnyDataset:
    """Read the labelled images that a task needs.

    Args:
        task: What the model answers.
        data: As for ``evaluate``.
        labels: The model's classes of objects or pixels; a classifier's are matched later.
        part: Which part of the data; ``None`` for all.
        skip_broken: Leave out images that can not be read.
        progress: Called with stage, done and total.

    Raises:
        MissingFileError: The data does not exist.
        DataError: It is of no format that fits the task, broken, or has no such part.
    """
    if task is Task.CLASSIFY:
        folder = Path(data) if part is None else _find_folder(Path(data), part)
        return read_dataset(folder, skip_broken=skip_broken, progress=progress)
    read: Callable[..., BoxDataset | MaskDataset]
    read = read_boxes if task is Task.DETECT else read_masks
    return read(data, labels=labels, part=part, skip_broken=skip_broken, progress=progress)


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


def _find_folder(root: Path, part: Part) -> Path:
    return pick_part(find_part_folders(root), part, root)


def _measure(
    model: Any, dataset: Any, notes: Sequence[str], progress: Progress | None
) -> AnyEvaluation:
    """Measure with what fits the model; the data set was read for its task."""
    if isinstance(model, Detector):
        return _add_notes(evaluate_detector(model, dataset, progress=progress), notes)
    if isinstance(model, Segmenter):
        return _add_notes(evaluate_segmenter(model, dataset, progress=progress), notes)
    return _add_notes(evaluate_classifier(model, dataset, progress=progress), notes)


def _add_notes(result: Result, notes: Sequence[str]) -> Result:
    return replace(result, notes=(*result.notes, *notes))

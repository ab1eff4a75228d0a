"""The accuracy of a loaded model, whatever its task: which data it needs, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgevision.data.boxes import BoxDataset, list_box_parts, read_boxes
from edgevision.data.folders import ImageDataset, read_dataset
from edgevision.data.masks import MaskDataset, list_mask_parts, read_masks
from edgevision.data.parts import find_part_folders, pick_part
from edgevision.runtime.detect import Detector
from edgevision.runtime.evaluate import Evaluation, evaluate_classifier
from edgevision.runtime.evaluate_detect import DetectionEvaluation, evaluate_detector
from edgevision.runtime.evaluate_segment import SegmentationEvaluation, evaluate_segmenter
from edgevision.runtime.segment import Segmenter
from edgevision.specs import Part, Progress, Task, parse_choice

if TYPE_CHECKING:
    from edgevision.runtime.predict import Model

AnyEvaluation = Evaluation | DetectionEvaluation | SegmentationEvaluation
AnyDataset = ImageDataset | BoxDataset | MaskDataset
Result = TypeVar("Result", Evaluation, DetectionEvaluation, SegmentationEvaluation)

HEADLINES = {Task.CLASSIFY: "top1", Task.DETECT: "map", Task.SEGMENT: "mean_iou"}
"""The figure by which models of a task are compared: an attribute of its evaluation, 0 to 1."""


def evaluate_model(
    model: Model,
    data: str | Path,
    *,
    part: Part | str | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> AnyEvaluation:
    """Measure a loaded model on labelled images.

    Args:
        model: What ``edgevision.load`` returned.
        data: What the model's task needs: a folder of class folders or one with ``labels.csv``;
            boxes as ``read_boxes`` takes them; or images and masks as ``read_masks`` does.
        part: ``train``, ``val`` or ``test``. By default, of data for detectors and segmenters that
            tell their parts, the validation part, else the test part; ``notes`` says so.
        skip_broken: Leave out images that can not be read; they are listed in the result.
        progress: Called with stage, done and total.

    Raises:
        MissingFileError: The data does not exist.
        DataError: Broken images, no such part, or labels that do not fit the model.
        BackendUnavailableError: A detector is measured without pycocotools.
    """
    contract = model.contract
    chosen = find_part(contract.task, data, part)
    dataset = read_data(
        contract.task,
        data,
        labels=model.labels if contract.labels else (),
        part=chosen,
        skip_broken=skip_broken,
        progress=progress,
    )
    notes = []
    if chosen is not None and part is None:
        notes.append(f"measured on the {chosen} part of the data; --part names another")
    if contract.assumed:
        notes.append(f"the file does not say {', '.join(contract.assumed)}: assumed")
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


def _find_folder(root: Path, part: Part) -> Path:
    return pick_part(find_part_folders(root), part, root)


def _measure(
    model: Model, dataset: Any, notes: Sequence[str], progress: Progress | None
) -> AnyEvaluation:
    """Measure with what fits the model; the data set was read for its task."""
    if isinstance(model, Detector):
        return _add_notes(evaluate_detector(model, dataset, progress=progress), notes)
    if isinstance(model, Segmenter):
        return _add_notes(evaluate_segmenter(model, dataset, progress=progress), notes)
    return _add_notes(evaluate_classifier(model, dataset, progress=progress), notes)


def _add_notes(result: Result, notes: Sequence[str]) -> Result:
    return replace(result, notes=(*result.notes, *notes))

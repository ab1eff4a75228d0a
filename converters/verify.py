"""Do two model files give the same answers on real photographs?

Each file is fed by its own contract, so that a wrong mean, resize rule or channel order shows up
here and not on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevision.converters.verify_classify import compare_classifiers
from edgevision.converters.verify_detect import compare_detectors
from edgevision.converters.verify_results import VerificationResult
from edgevision.converters.verify_segment import compare_segmenters
from edgevision.converters.verify_sides import Predictor, Side, check_same_classes, open_sides
from edgevision.data.boxes import BoxDataset
from edgevision.data.images import list_images, spread_evenly
from edgevision.data.masks import MaskDataset
from edgevision.errors import DataError, InvalidConfigError
from edgevision.runtime.classify import Classifier
from edgevision.runtime.detect import Detector
from edgevision.runtime.evaluation import find_part, read_data
from edgevision.runtime.segment import Segmenter
from edgevision.specs import Device, Progress, Task

__all__ = ["VerificationResult", "verify"]


def verify(
    reference: str | Path,
    candidate: str | Path,
    *,
    data: str | Path,
    device: Device | str = Device.CPU,
    gpu_float32: bool = False,
    min_agreement: float | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> VerificationResult:
    """Run two models of one task on the same photographs and compare what they answer.

    The two may differ in format, layout, number type, and in what a detector or segmenter ends in.
    Without ``min_agreement`` the result passes when every score is a number: how much agreement is
    enough depends on the task.

    Args:
        reference: The model that is right: ``.tflite``, ``.onnx``, ``.keras``, ``.h5``, SavedModel.
        candidate: The model to check.
        data: Folder; every image below it is used. For detectors and segmenters, boxes or masks
            that ``evaluate`` would read are used too, and then the part of them that it would.
        device: Where the candidate runs; the reference runs on the CPU. With the same file twice
            this tells whether a device gives the same answers.
        gpu_float32: Whether a GPU computes in float32 where it would take float16.
        min_agreement: Smallest share of equal answers, 0 to 1: images with the same best class,
            boxes (F1), or pixels.
        limit: Use this many images at the most, evenly spaced through the folder.
        skip_broken: Leave out images that can not be decoded, instead of failing.
        progress: Called for every image.

    Returns:
        What fits the task: ``top1_agreement``, ``map_delta`` or ``miou_delta``, and more.

    Raises:
        MissingFileError: A file or the folder does not exist.
        InvalidModelError: A file is not a whole model, or its outputs do not fit its task.
        InvalidConfigError: The two are of different tasks, answer different classes, or an option
            is out of range.
        UnsupportedOpError: A model has more inputs or outputs than its task takes.
        DataError: There is no image, or one is broken (it is named), or all of them are.
        DelegateError: The device can not be used.
        BackendUnavailableError: Detectors are compared on annotated images without pycocotools.
    """
    _check_options(min_agreement, limit)
    sides = open_sides(Path(reference), Path(candidate), device=device, gpu_float32=gpu_float32)
    models = (sides[0].create(), sides[1].create())
    check_same_classes(sides, models)
    truth = _read_truth(models[0], data, limit, skip_broken=skip_broken)
    files = truth.files if truth is not None else spread_evenly(list_images(data), limit)
    options: dict[str, Any] = {
        "min_agreement": min_agreement,
        "skip_broken": skip_broken,
        "progress": progress,
    }
    result = _compare(sides, models, files, truth, options)
    left_out = truth.skipped if truth is not None else ()
    broken = (f"left out a broken image: {reason}" for _, reason in left_out)
    return replace(result, warnings=(*result.warnings, *broken))


def _compare(
    sides: tuple[Side, Side],
    models: tuple[Predictor, Predictor],
    files: Sequence[Path],
    truth: BoxDataset | MaskDataset | None,
    options: Mapping[str, Any],
) -> VerificationResult:
    """Compare by what the models are; both are of one task."""
    first, second = models
    if isinstance(first, Detector) and isinstance(second, Detector):
        boxes = truth if isinstance(truth, BoxDataset) else None
        return compare_detectors(sides, (first, second), files, truth=boxes, **options)
    if isinstance(first, Segmenter) and isinstance(second, Segmenter):
        masks = truth if isinstance(truth, MaskDataset) else None
        return compare_segmenters(sides, (first, second), files, truth=masks, **options)
    classifiers = [model for model in models if isinstance(model, Classifier)]
    return compare_classifiers(sides, (classifiers[0], classifiers[1]), files, **options)


def _check_options(min_agreement: float | None, limit: int | None) -> None:
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise InvalidConfigError(
            "an agreement is a share from 0 to 1", received=f"min_agreement={min_agreement}"
        )
    if limit is not None and limit < 1:
        raise InvalidConfigError("at least one image is needed", received=f"limit={limit}")


def _read_truth(
    model: Predictor, data: str | Path, limit: int | None, *, skip_broken: bool
) -> BoxDataset | MaskDataset | None:
    """Read boxes or masks; ``None`` where the folder has none, or the task needs none."""
    task = model.contract.task
    if task is Task.CLASSIFY:
        return None
    try:
        part = find_part(task, data, None)
    except DataError:  # photographs alone
        return None
    labels = model.labels if model.contract.labels else ()
    dataset = read_data(task, data, labels=labels, part=part, skip_broken=skip_broken)
    if not isinstance(dataset, BoxDataset | MaskDataset):
        return None
    chosen = dataset.select(spread_evenly(range(len(dataset)), limit))
    # Images without any object tell nothing about precision: they are photographs alone.
    return None if isinstance(chosen, BoxDataset) and not sum(chosen.counts) else chosen

"""Accuracy of the file that ships, measured through its own contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevision.data.folders import read_dataset
from edgevision.runtime.evaluate import Evaluation, evaluate_classifier
from edgevision.runtime.load import load
from edgevision.specs import Device, Progress

__all__ = ["Evaluation", "evaluate"]


def evaluate(
    path: str | Path,
    data: str | Path,
    *,
    device: Device | str = Device.CPU,
    threads: int | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Evaluation:
    """Measure the accuracy of a model file on a folder of labelled images.

    Args:
        path: A ``.tflite`` or ``.onnx`` classifier, float or quantized.
        data: A folder of class folders, or one with ``labels.csv``.
        device: Where the model runs.
        threads: CPU threads.
        skip_broken: Leave out images that can not be read; they are listed in the result.
        progress: Called with stage, done and total.
        **overrides: Parts of the contract, as for ``load``: ``labels``, ``mean``, ``std`` …

    Raises:
        MissingFileError: The file or the folder does not exist.
        InvalidModelError: The file is damaged.
        UnsupportedOpError: The file is no classifier.
        DataError: Broken images, or labels that do not fit the model.
        DelegateError: The device can not be used.
    """
    classifier = load(path, device=device, threads=threads, **overrides)
    dataset = read_dataset(data, skip_broken=skip_broken, progress=progress)
    result = evaluate_classifier(classifier, dataset, progress=progress)
    return _add_assumptions(result, classifier.contract.assumed)


def _add_assumptions(result: Evaluation, assumed: tuple[str, ...]) -> Evaluation:
    if not assumed:
        return result
    note = f"the file does not say {', '.join(assumed)}: assumed"
    return replace(result, notes=(*result.notes, note))

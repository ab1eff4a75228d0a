"""The quality gate: accuracy of the quantized file against the float one, on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevision.data.folders import read_dataset
from edgevision.errors import InvalidConfigError, QualityGateError
from edgevision.quantization.result import Accuracy
from edgevision.runtime.evaluate import evaluate_classifier
from edgevision.runtime.load import load
from edgevision.specs import Progress


def compare_accuracy(
    files: tuple[Path, Path],
    data: str | Path,
    *,
    contract: Mapping[str, Any],
    skip_broken: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Accuracy:
    """Measure top-1 of both files.

    Args:
        files: The float and the quantized file.
        data: Labelled images.
        contract: Overrides of the files' contract.
        skip_broken: Leave out broken images.
        threads: CPU threads of the interpreter.
        progress: Called after every image.

    Raises:
        DataError: The images or labels do not fit.
    """
    float_classifier, classifier = (load(f, threads=threads, **contract) for f in files)
    # Without the model's labels, as ``evaluate`` reads it: a class 0 may be the model's class 1.
    dataset = read_dataset(data, skip_broken=skip_broken)
    before = evaluate_classifier(float_classifier, dataset, progress=_name(progress, "float"))
    after = evaluate_classifier(classifier, dataset, progress=_name(progress, "quantized"))
    return Accuracy(
        float_top1=before.top1,
        quantized_top1=after.top1,
        samples=after.samples,
        notes=before.notes,
    )


def check_drop(accuracy: Accuracy, max_drop: float) -> None:
    """Refuse a result that lost more than it may.

    Raises:
        QualityGateError: With the figures.
    """
    # Shares of images: a drop of exactly the limit must not fail by rounding.
    if accuracy.drop <= max_drop + 1e-9:
        return
    raise QualityGateError(
        f"quantization lost more than {max_drop:g} points of top-1, so no file was written",
        received=(
            f"float {100 * accuracy.float_top1:.2f} %, quantized "
            f"{100 * accuracy.quantized_top1:.2f} %, drop {accuracy.drop:.2f} points, "
            f"{accuracy.samples} images"
        ),
        remedy="give more typical calibration images, or try --scheme int16x8",
    )


def check_gate(eval_data: str | Path | None, max_drop: float | None) -> None:
    """Refuse a gate that can not be measured.

    Raises:
        InvalidConfigError: ``max_drop`` without labelled images, or out of range.
    """
    if max_drop is None:
        return
    if eval_data is None:
        raise InvalidConfigError(
            "max_drop needs labelled images",
            received=f"max_drop={max_drop}",
            remedy="name them with --eval",
        )
    if not 0 <= max_drop <= 100:
        raise InvalidConfigError(
            "max_drop is in percentage points, 0 to 100", received=f"max_drop={max_drop}"
        )


def _name(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    report = progress
    return lambda _, done, total: report(f"evaluating {name}", done, total)

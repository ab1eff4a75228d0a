"""The quality gate: accuracy of the quantized file against the float one, on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevision.errors import InvalidConfigError, QualityGateError
from edgevision.quantization.result import METRIC_NAMES, Accuracy
from edgevision.runtime.evaluation import HEADLINES, evaluate_model
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
    """Measure the figure of the task, top-1, mAP or mean IoU, of both files.

    Args:
        files: The float and the quantized file.
        data: Labelled images, as for ``evaluate``.
        contract: Overrides of the files' contract.
        skip_broken: Leave out broken images.
        threads: CPU threads of the interpreter.
        progress: Called after every image.

    Raises:
        DataError: The images or labels do not fit.
        BackendUnavailableError: A detector is measured without pycocotools.
    """
    results = []
    for file, name in zip(files, ("float", "quantized"), strict=True):
        model = load(file, threads=threads, **contract)
        report = _name(progress, name)
        results.append(evaluate_model(model, data, skip_broken=skip_broken, progress=report))
        metric = HEADLINES[model.contract.task]
    before, after = results
    return Accuracy(
        metric=metric,
        float_value=getattr(before, metric),
        quantized_value=getattr(after, metric),
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
        f"quantization lost more than {max_drop:g} points of {METRIC_NAMES[accuracy.metric]}, so "
        "no file was written",
        received=(
            f"float {100 * accuracy.float_value:.2f} %, quantized "
            f"{100 * accuracy.quantized_value:.2f} %, drop {accuracy.drop:.2f} points, "
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

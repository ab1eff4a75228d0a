"""The quality gate: accuracy of the quantized file against the float one, on labelled images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.errors import QualityGateError
from edgevision.quantization.accuracy import METRIC_NAMES, Accuracy
from edgevision.runtime.evaluation import HEADLINES, evaluate_model
from edgevision.runtime.load import load
from edgevision.specs import Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvalData:
    """Labelled images, and how they are read.

    Attributes:
        folder: As for ``evaluate``.
        contract: Overrides of the files' contract.
        skip_broken: Leave out broken images.
        threads: CPU threads of the interpreter.
        progress: Called after every image.
    """

    folder: str | Path
    contract: Mapping[str, Any]
    skip_broken: bool = False
    threads: int | None = None
    progress: Progress | None = None


class AccuracyMeter:
    """Measures the figure of the task, top-1, mAP or mean IoU, of a float and of integer files.

    The float file is measured once, when it is needed first.

    Args:
        float_file: The float file.
        data: Labelled images.
    """

    def __init__(self, float_file: Path, data: EvalData) -> None:
        self._float_file = float_file
        self._data = data
        self._before: Any = None

    def measure(self, model: bytes) -> Accuracy:
        """Measure a file with its contract, of the format of the float file.

        Raises:
            DataError: The images or labels do not fit.
            BackendUnavailableError: A detector is measured without pycocotools.
        """
        if self._before is None:
            self._before = self._evaluate(self._float_file, "float")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"quantized{self._float_file.suffix.lower()}"
            file.write_bytes(model)
            after, metric = self._evaluate(file, "quantized")
        before = self._before[0]
        return Accuracy(
            metric=metric,
            float_value=getattr(before, metric),
            quantized_value=getattr(after, metric),
            samples=after.samples,
            notes=before.notes,
        )

    def _evaluate(self, file: Path, name: str) -> tuple[Any, str]:
        data = self._data
        model = load(file, threads=data.threads, **data.contract)
        report = _name(data.progress, name)
        result = evaluate_model(model, data.folder, skip_broken=data.skip_broken, progress=report)
        return result, HEADLINES[model.contract.task]


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
        received=accuracy.describe(),
        remedy="give more typical calibration images, or try --scheme int16x8",
    )


def _name(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    report = progress
    return lambda _, done, total: report(f"evaluating {name}", done, total)

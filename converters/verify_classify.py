"""Two classifiers on the same photographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.converters.verify_results import (
    NUM_WORST,
    ClassifierVerification,
    ImageDifference,
    describe_failure,
)
from edgevision.converters.verify_sides import Side, compare_contracts, iterate_images
from edgevision.metrics.classification import sqnr_db
from edgevision.runtime.classify import Classifier
from edgevision.runtime.predictor import name_class
from edgevision.specs import Progress

Scores = NDArray[np.float32]


def compare_classifiers(
    sides: tuple[Side, Side],
    models: tuple[Classifier, Classifier],
    files: Sequence[Path],
    *,
    min_agreement: float | None,
    skip_broken: bool,
    progress: Progress | None,
) -> ClassifierVerification:
    """Compare the scores of all classes, image by image.

    Args:
        sides: The reference and the candidate.
        models: What answers for them.
        files: Images.
        min_agreement: Smallest share of equal answers.
        skip_broken: Leave out images that can not be decoded.
        progress: Called for every image.

    Raises:
        DataError: An image is broken, or all of them are.
    """
    skipped = list[str]()
    used, rows = list[Path](), list[tuple[Scores, Scores]]()
    for index, image in iterate_images(files, skipped, skip_broken=skip_broken, progress=progress):
        used.append(files[index])
        rows.append((models[0].scores(image), models[1].scores(image)))
    expected, received = (np.stack(column) for column in zip(*rows, strict=True))
    errors = np.max(np.abs(expected - received), axis=1)
    errors = np.where(np.isfinite(errors), errors, np.inf)
    agreement = _measure_agreement(expected, received)
    return ClassifierVerification(
        top1_agreement=agreement,
        max_abs_error=float(errors.max()),
        sqnr_db=float(sqnr_db(expected, received)),
        samples=len(used),
        min_agreement=min_agreement,
        worst=tuple(_list_worst(used, (expected, received), errors, sides)),
        warnings=(*compare_contracts(*sides), *skipped),
        failure=_find_failure(errors, agreement, min_agreement),
    )


def _measure_agreement(expected: Scores, received: Scores) -> float:
    best = expected.argmax(axis=1)
    chosen = np.take_along_axis(received, best[:, None], axis=1)[:, 0]
    # NaN compares as unequal: a broken candidate agrees with nothing.
    return float(np.mean(chosen >= received.max(axis=1)))


def _list_worst(
    files: Sequence[Path],
    scores: tuple[Scores, Scores],
    errors: NDArray[Any],
    sides: tuple[Side, Side],
) -> Iterator[ImageDifference]:
    for index in np.argsort(-errors, kind="stable")[:NUM_WORST]:
        first, second = (
            name_class(side.contract.labels, int(rows[index].argmax()))
            for side, rows in zip(sides, scores, strict=True)
        )
        yield ImageDifference(
            file=files[index],
            max_abs_error=float(errors[index]),
            reference=first,
            candidate=second,
        )


def _find_failure(errors: NDArray[Any], agreement: float, min_agreement: float | None) -> str:
    if not np.isfinite(errors).all():
        return f"{int(np.sum(~np.isfinite(errors)))} images give scores that are not numbers"
    return describe_failure(agreement, min_agreement, "images")

"""Do two model files give the same answers on real photographs?

Each file is fed by its own contract, so that a wrong mean, resize rule or channel order shows up
here and not on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract, Preprocessing
from edgevision.converters.convert import detect_source
from edgevision.converters.parity import Runner
from edgevision.data.ahead import map_ahead
from edgevision.data.images import decode_image, list_images, spread_evenly
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import DataError, InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.graph.contracts import complete_contract, read_contract
from edgevision.graph.reader import read_graph
from edgevision.metrics.classification import softmax, sqnr_db
from edgevision.runtime.classify import dequantize
from edgevision.runtime.sessions import open_session
from edgevision.specs import ModelFormat, Progress, ScoreKind, Task
from edgevision.threads import count_cores

Scores = NDArray[np.float32]
NUM_WORST = 10
_RUNNABLE = (ModelFormat.TFLITE, ModelFormat.ONNX)
_MAX_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDifference:
    """How far the answers lie apart on one image.

    Attributes:
        file: The image.
        max_abs_error: Largest difference of any score.
        reference: The reference's best class.
        candidate: The candidate's best class.
    """

    file: Path
    max_abs_error: float
    reference: str
    candidate: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "file": str(self.file),
            "max_abs_error": self.max_abs_error,
            "reference": self.reference,
            "candidate": self.candidate,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """How far a candidate agrees with its reference.

    Attributes:
        top1_agreement: Share of images with the same best class; a class that ties for the
            candidate's best counts as the same.
        max_abs_error: Largest difference of any score of any image.
        sqnr_db: Signal to noise of all scores, decibels.
        samples: Images compared.
        min_agreement: What was asked for, if anything.
        worst: The images with the largest differences, worst first.
        warnings: What differs between the two contracts, what was assumed, and which broken
            images were left out.
        failure: Why it did not pass, otherwise empty.
    """

    top1_agreement: float
    max_abs_error: float
    sqnr_db: float
    samples: int
    min_agreement: float | None
    worst: tuple[ImageDifference, ...]
    warnings: tuple[str, ...]
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether every score is a number and the agreement is what was asked for."""
        return not self.failure

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        lists = {
            "worst": [image.to_dict() for image in self.worst],
            "warnings": list(self.warnings),
        }
        return own | lists | {"passed": self.passed}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two models, ready to run."""

    path: Path
    runner: Runner
    contract: Contract
    carried: bool

    def make_scorer(self) -> tuple[Preprocessor, Callable[[NDArray[np.uint8]], Scores]]:
        """Return the preprocessing, and what turns resized pixels into scores."""
        if len(self.runner.inputs) != 1 or len(self.runner.outputs) != 1:
            raise InvalidModelError(
                "a classifier has one input and one output",
                received=f"{self.path}: {len(self.runner.inputs)} inputs, "
                f"{len(self.runner.outputs)} outputs",
            )
        spec, output = self.runner.inputs[0], self.runner.outputs[0]
        preprocess = Preprocessor(self.contract.preprocessing, spec)

        def score(pixels: NDArray[np.uint8]) -> Scores:
            raw = self.runner.run({spec.name: preprocess.normalize(pixels)})[output.name]
            scores = dequantize(raw.reshape(-1, raw.shape[-1])[0], output.quantization)
            if self.contract.scores is ScoreKind.LOGITS:
                return softmax(scores).astype(np.float32)
            return scores

        return preprocess, score


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answers:
    """What both models say: (N, C) float32 each, for the files that could be read."""

    files: tuple[Path, ...]
    expected: Scores
    received: Scores
    skipped: tuple[str, ...]


def verify(
    reference: str | Path,
    candidate: str | Path,
    *,
    data: str | Path,
    min_agreement: float | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> VerificationResult:
    """Run two classifiers on the same photographs and compare what they answer.

    The two may differ in format, layout and number type. Without ``min_agreement`` the result
    passes when every score is a number: how much agreement is enough depends on the task.

    Args:
        reference: The model that is right: ``.tflite``, ``.onnx``, ``.keras``, ``.h5``, SavedModel.
        candidate: The model to check.
        data: Folder; every image below it is used.
        min_agreement: Smallest share of equal answers, 0 to 1.
        limit: Use this many images at the most, evenly spaced through the folder.
        skip_broken: Leave out images that can not be decoded, instead of failing.
        progress: Called for every image.

    Raises:
        MissingFileError: A file or the folder does not exist.
        InvalidModelError: A file is not a whole model, or no classifier.
        InvalidConfigError: The two answer different classes, or an option is out of range.
        UnsupportedOpError: A detector or segmenter: these come later.
        DataError: There is no image, or one is broken (it is named), or all of them are.
    """
    _check_options(min_agreement, limit)
    files = spread_evenly(list_images(data), limit)
    sides = _share_contract(_open_side(Path(reference)), _open_side(Path(candidate)))
    _check_same_classes(*sides)
    answers = _collect_answers(sides, files, skip_broken=skip_broken, progress=progress)
    expected, received = answers.expected, answers.received
    errors = np.max(np.abs(expected - received), axis=1)
    errors = np.where(np.isfinite(errors), errors, np.inf)
    agreement = _measure_agreement(expected, received)
    return VerificationResult(
        top1_agreement=agreement,
        max_abs_error=float(errors.max()),
        sqnr_db=float(sqnr_db(expected, received)),
        samples=len(answers.files),
        min_agreement=min_agreement,
        worst=tuple(_list_worst(answers, errors, sides)),
        warnings=(*_compare_contracts(*sides), *answers.skipped),
        failure=_find_failure(errors, agreement, min_agreement),
    )


def _check_options(min_agreement: float | None, limit: int | None) -> None:
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise InvalidConfigError(
            "an agreement is a share from 0 to 1", received=f"min_agreement={min_agreement}"
        )
    if limit is not None and limit < 1:
        raise InvalidConfigError("at least one image is needed", received=f"limit={limit}")


def _open_side(path: Path) -> _Side:
    origin = detect_source(path)
    if origin in _RUNNABLE:
        runner: Runner = open_session(path)
        graph, stated = read_graph(path), read_contract(path)
        contract = complete_contract(stated, graph, {})
    else:
        runner, stated, contract = _open_keras(path)
    if contract.task is not Task.CLASSIFY:
        raise UnsupportedOpError(
            "verify compares classifiers; detectors and segmenters come with a later version",
            received=f"{path}: task={contract.task}",
        )
    return _Side(path=path, runner=runner, contract=contract, carried=stated is not None)


def _open_keras(path: Path) -> tuple[Runner, Contract | None, Contract]:
    from edgevision.converters.frozen import freeze_model
    from edgevision.converters.lint import lint_model
    from edgevision.converters.load import load_keras_model

    linted = lint_model(load_keras_model(path))
    frozen = freeze_model(linted.model, linted.inputs)
    stated = read_contract(path) if path.suffix.lower() == ".keras" else None
    contract = stated or Contract(task=Task.CLASSIFY)
    if stated is None and linted.preprocessing is not None:
        contract = replace(contract, preprocessing=linted.preprocessing)
    return frozen, stated, contract


def _share_contract(reference: _Side, candidate: _Side) -> tuple[_Side, _Side]:
    """Let a file without a contract borrow the other's: they are meant to be the same model."""
    if reference.carried == candidate.carried:
        return reference, candidate
    if reference.carried:
        return reference, replace(candidate, contract=reference.contract)
    return replace(reference, contract=candidate.contract), candidate


def _check_same_classes(reference: _Side, candidate: _Side) -> None:
    counts = [side.runner.outputs[0].shape[-1] for side in (reference, candidate)]
    if counts[0] != counts[1]:
        raise InvalidConfigError(
            "the two models answer different classes",
            received=f"{counts[0]} and {counts[1]} classes",
            remedy="compare a model with another form of the same model",
        )
    names = [_simplify(side.contract.labels) for side in (reference, candidate)]
    if all(names) and names[0] != names[1]:
        where = next(i for i, (a, b) in enumerate(zip(*names, strict=True)) if a != b)
        raise InvalidConfigError(
            "the two models name their classes differently",
            received=f"class {where}: {names[0][where]} and {names[1][where]}",
            remedy="give both the same label file (edgevision convert --labels)",
        )


def _simplify(labels: Sequence[str]) -> list[str]:
    return [label.strip().lower() for label in labels]


def _collect_answers(
    sides: tuple[_Side, _Side],
    files: Sequence[Path],
    *,
    skip_broken: bool,
    progress: Progress | None,
) -> _Answers:
    (resize_first, score_first), (resize_second, score_second) = (
        side.make_scorer() for side in sides
    )
    decode = partial(_decode, (resize_first, resize_second), skip_broken=skip_broken)
    used, skipped = list[Path](), list[str]()
    rows: list[tuple[Scores, Scores]] = []
    decoded = map_ahead(decode, files, threads=min(count_cores(), _MAX_THREADS))
    for done, (file, pixels) in enumerate(zip(files, decoded, strict=True), start=1):
        if isinstance(pixels, DataError):
            skipped.append(f"left out a broken image: {pixels}")
        else:
            rows.append((score_first(pixels[0]), score_second(pixels[1])))
            used.append(file)
        if progress is not None:
            progress("verifying", done, len(files))
    if not rows:
        raise DataError("no image can be read", received=f"{len(files)} images, {skipped[0]}")
    expected, received = (np.stack(column) for column in zip(*rows, strict=True))
    return _Answers(files=tuple(used), expected=expected, received=received, skipped=tuple(skipped))


def _decode(
    preprocessors: tuple[Preprocessor, Preprocessor], file: Path, *, skip_broken: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | DataError:
    """Return the pixels for both models; for a file that is to be skipped, why."""
    try:
        image = decode_image(file)
    except DataError as error:
        if not skip_broken:
            raise
        return error
    first, second = (preprocess.resize(image) for preprocess in preprocessors)
    return first, second


def _measure_agreement(expected: Scores, received: Scores) -> float:
    best = expected.argmax(axis=1)
    chosen = np.take_along_axis(received, best[:, None], axis=1)[:, 0]
    # NaN compares as unequal: a broken candidate agrees with nothing.
    return float(np.mean(chosen >= received.max(axis=1)))


def _list_worst(
    answers: _Answers, errors: NDArray[Any], sides: tuple[_Side, _Side]
) -> Iterator[ImageDifference]:
    scores = (answers.expected, answers.received)
    for index in np.argsort(-errors, kind="stable")[:NUM_WORST]:
        first, second = (
            _name_class(side, int(rows[index].argmax()))
            for side, rows in zip(sides, scores, strict=True)
        )
        yield ImageDifference(
            file=answers.files[index],
            max_abs_error=float(errors[index]),
            reference=first,
            candidate=second,
        )


def _name_class(side: _Side, index: int) -> str:
    labels = side.contract.labels
    return labels[index] if index < len(labels) else str(index)


def _compare_contracts(reference: _Side, candidate: _Side) -> Iterator[str]:
    first, second = _spread(reference.contract), _spread(candidate.contract)
    for name in first:
        if first[name] != second[name]:
            yield (
                f"preprocessing differs: {name} is {first[name]} in the reference and "
                f"{second[name]} in the candidate"
            )
    if reference.carried != candidate.carried:
        without = candidate if reference.carried else reference
        yield f"{without.path.name} carries no contract; the other file's was used for both"
    elif not reference.carried:
        yield "neither file carries a contract; preprocessing was assumed"


def _spread(contract: Contract) -> Mapping[str, Any]:
    """Return the preprocessing in a form in which one value for all channels equals three."""
    values: Preprocessing = contract.preprocessing
    return {
        "resize": values.resize.value,
        "crop_fraction": values.crop_fraction if values.resize.value == "crop" else 1.0,
        "mean": values.mean * 3 if len(values.mean) == 1 else values.mean,
        "std": values.std * 3 if len(values.std) == 1 else values.std,
        "color": values.color.value,
    }


def _find_failure(errors: NDArray[Any], agreement: float, min_agreement: float | None) -> str:
    if not np.isfinite(errors).all():
        return f"{int(np.sum(~np.isfinite(errors)))} images give scores that are not numbers"
    if min_agreement is not None and agreement < min_agreement:
        return (
            f"the models agree on {agreement:.1%} of the images, {min_agreement:.1%} was asked for"
        )
    return ""

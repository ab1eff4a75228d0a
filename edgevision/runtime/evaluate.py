"""Accuracy of a classifier on labelled images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.labels import match_labels
from edgevision.errors import DataError
from edgevision.graph.contract_guesses import is_background
from edgevision.runtime.classify import Classifier, find_best
from edgevision.specs import Progress

if TYPE_CHECKING:
    from edgevision.data.folders import ImageDataset

Indices = NDArray[np.intp]

_STAGE = "evaluating"
_NUM_CONFUSIONS = 10
_NUMBER = re.compile(r"[0-9]{1,9}")
_WORDNET_ID = re.compile(r"n\d{8}")
_NUM_IMAGENET_CLASSES = 1000
_SHIFT_NOTE = "the model's first class is background: class 0 of the data is its class 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecall:
    """How often the images of one class were recognized.

    Attributes:
        label: Name of the class.
        samples: Images of this class.
        recall: Share of them whose best class is this one, 0 to 1.
    """

    label: str
    samples: int
    recall: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"label": self.label, "samples": self.samples, "recall": self.recall}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Images of one class that were taken for another.

    Attributes:
        label: What they are.
        predicted: What the model said.
        count: Number of images.
    """

    label: str
    predicted: str
    count: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"label": self.label, "predicted": self.predicted, "count": self.count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Accuracy of one model file on one data set.

    Attributes:
        top1: Share of images whose best class is right, 0 to 1.
        top5: Share of images whose class is among the best five, 0 to 1.
        samples: Images that were evaluated.
        per_class: Recall of every class that has images, in the order of the output.
        confusions: The most frequent mistakes, at most ten.
        notes: How labels and classes were matched, and what was assumed.
        skipped: Broken files that were left out, each with the reason.
    """

    top1: float
    top5: float
    samples: int
    per_class: tuple[ClassRecall, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "samples": self.samples,
            "per_class": [row.to_dict() for row in self.per_class],
            "confusions": [row.to_dict() for row in self.confusions],
            "notes": list(self.notes),
            "skipped": [{"file": str(file), "reason": reason} for file, reason in self.skipped],
        }


def evaluate_classifier(
    classifier: Classifier, dataset: ImageDataset, *, progress: Progress | None = None
) -> Evaluation:
    """Measure how often a classifier is right.

    Images are decoded ahead in threads. Equal scores rank in the order of the output, as in
    ``predict``.

    Args:
        classifier: The model.
        dataset: Labelled images. Class names are matched to the model's; where one side has none,
            the order decides. A model with one class more, the first being background, is
            recognized, and ``notes`` says so.
        progress: Called after every image.

    Raises:
        DataError: Labels do not fit the model, an image is broken, or there is none.
    """
    if not len(dataset):
        raise DataError("there are no images to evaluate on", remedy="check the folder")
    alignment = align_labels(dataset, classifier.contract.labels, classifier.num_classes)
    best = np.stack(
        [find_best(scores, 5) for scores in _iterate(classifier, dataset.files, progress)]
    )
    targets, note = alignment.resolve(np.array(dataset.targets), best)
    hits = best == targets[:, None]
    return Evaluation(
        top1=float(hits[:, 0].mean()),
        top5=float(hits.any(axis=1).mean()),
        samples=len(targets),
        per_class=_measure_recalls(hits[:, 0], targets, classifier.labels),
        confusions=_find_confusions(best[:, 0], targets, classifier.labels),
        notes=(*dataset.notes, *((note,) if note else ())),
        skipped=dataset.skipped,
    )


def collect_scores(
    classifier: Classifier, files: Sequence[Path], *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Run a classifier on many files.

    Returns:
        (len(files), num_classes) float32.

    Raises:
        DataError: An image is broken; it is named.
    """
    scores = np.zeros((len(files), classifier.num_classes), np.float32)
    for row, values in zip(scores, _iterate(classifier, files, progress), strict=True):
        row[:] = values
    return scores


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which output of a model stands for each class of a data set.

    Attributes:
        indices: Output of each class of the data set; -1 for classes without images.
        note: What a reader must know about it.
        unsure: Whether the classes may as well count from the output after that (a leading
            background class that the data set may or may not count).
    """

    indices: Indices
    note: str = ""
    unsure: bool = False

    def resolve(self, targets: Indices, best: Indices) -> tuple[Indices, str]:
        """Return the right output for every image, (N,), and the note.

        Args:
            targets: Class of every image in the data set, (N,).
            best: Outputs of the model, best first, (N, k); decides where the data set alone
                does not tell.
        """
        outputs = self.indices[targets]
        if not self.unsure:
            return outputs, self.note
        plain, shifted = ((best[:, 0] == t).sum() for t in (outputs, outputs + 1))
        if plain > shifted:
            return outputs, ""
        return outputs + 1, _SHIFT_NOTE


def align_labels(
    dataset: ImageDataset, model_labels: tuple[str, ...], num_classes: int
) -> Alignment:
    """Match the classes of a data set to the outputs of a model.

    Args:
        dataset: Its labels are names, or numbers that count the classes.
        model_labels: The model's class names, possibly empty.
        num_classes: Number of outputs.

    Raises:
        DataError: Names that the model does not have, or another number of classes.
    """
    names = dataset.labels
    if names == model_labels:
        return Alignment(np.arange(len(names)))
    used = sorted(set(dataset.targets))
    if _count_by_number(names, model_labels):
        return _align_numbers(np.array(names, np.intp), used, model_labels, num_classes)
    if model_labels and not _are_wordnet_ids(names):
        source = dataset.files[0].parent.parent
        found = match_labels([names[i] for i in used], model_labels, source)
        return Alignment(np.array([found.get(name, -1) for name in names]))
    return _align_order(names, num_classes)


def _count_by_number(names: tuple[str, ...], model_labels: tuple[str, ...]) -> bool:
    """Whether the data set numbers its classes, and the model's names are no numbers."""
    return all(map(_NUMBER.fullmatch, names)) and not set(names) & set(model_labels)


def _align_numbers(
    outputs: Indices, used: Sequence[int], model_labels: tuple[str, ...], num_classes: int
) -> Alignment:
    """Take numbers for outputs, one further where the model's first output is background."""
    present = outputs[list(used)]
    if present.max() >= num_classes:
        raise DataError(
            "class numbers of the data are below the number of the model's classes",
            received=f"class {present.max()}, {num_classes} classes",
            remedy="evaluate on the data that the model was trained for",
        )
    starts_with_background = (
        is_background(model_labels[0]) if model_labels else num_classes == _NUM_IMAGENET_CLASSES + 1
    )
    if not starts_with_background or present.max() == num_classes - 1:
        return Alignment(outputs)
    if present.min() == 0:  # nobody photographs background
        return Alignment(outputs + 1, _SHIFT_NOTE)
    return Alignment(outputs, unsure=True)


def _align_order(names: tuple[str, ...], num_classes: int) -> Alignment:
    """Take the classes in their order where one side has no names that the other could know."""
    order = "classes are matched by their order, because names are missing on one side"
    if num_classes == len(names):
        return Alignment(np.arange(len(names)), order)
    if num_classes == len(names) + 1:
        return Alignment(np.arange(len(names)) + 1, f"{order}; {_SHIFT_NOTE}")
    raise DataError(
        "without common names a data set needs as many classes as the model",
        received=f"{len(names)} classes in the data, {num_classes} in the model",
        remedy="give the model's class names with --labels",
    )


def _are_wordnet_ids(names: tuple[str, ...]) -> bool:
    """Whether the folders are those of ImageNet, whose sorted order is that of the classes."""
    return len(names) == _NUM_IMAGENET_CLASSES and all(map(_WORDNET_ID.fullmatch, names))


def _iterate(
    classifier: Classifier, files: Sequence[Path], progress: Progress | None
) -> Iterator[NDArray[np.float32]]:
    for done, scores in enumerate(classifier.iterate_scores(files)):
        yield scores
        if progress:
            progress(_STAGE, done + 1, len(files))


def _measure_recalls(
    right: NDArray[np.bool_], targets: Indices, labels: Sequence[str]
) -> tuple[ClassRecall, ...]:
    classes, counts = np.unique(targets, return_counts=True)
    return tuple(
        ClassRecall(
            label=labels[index], samples=int(count), recall=float(right[targets == index].mean())
        )
        for index, count in zip(classes.tolist(), counts, strict=True)
    )


def _find_confusions(
    answers: Indices, targets: Indices, labels: Sequence[str]
) -> tuple[Confusion, ...]:
    pairs = zip(targets.tolist(), answers.tolist(), strict=True)
    mistakes = Counter((target, answer) for target, answer in pairs if target != answer)
    return tuple(
        Confusion(label=labels[target], predicted=labels[answer], count=count)
        for (target, answer), count in mistakes.most_common(_NUM_CONFUSIONS)
    )

"""What a frozen backbone sees, computed once: the head then trains on it in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.outputs import atomic_path
from edgevision.training.events import EventCallback, Meter, Phase
from edgevision.training.learner import Batch
from edgevision.training.pipeline import EpochOrder
from edgevision.training.sources import ImageSource

_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureSet:
    """Features of a set of images, in one or more random views of each.

    Attributes:
        features: One array (N, …) float32 per view.
        targets: (N,) class indices.
    """

    features: Sequence[NDArray[np.float32]]
    targets: NDArray[np.int32]

    def stream(self, order: EpochOrder, start: int, stop: int) -> Iterator[Batch]:
        """Yield (features, targets, seed) for these steps; every epoch takes the next view."""
        for step in range(start, stop):
            indices = order.pick(step)
            view = self.features[(step // order.steps) % len(self.features)]
            yield view[indices], self.targets[indices], np.array((order.seed, step), np.int32)

    def batches(self) -> list[Batch]:
        """Return the first view in order."""
        seed = np.zeros(2, np.int32)
        parts = (slice(i, i + _BATCH) for i in range(0, len(self.targets), _BATCH))
        return [(self.features[0][part], self.targets[part], seed) for part in parts]


class FeatureExtractor:
    """Runs a backbone over images, and keeps the results of a run that may be killed.

    Args:
        backbone: Keras model; run in inference mode.
        folder: Where finished results are kept.
        report: Receives the events.
    """

    def __init__(self, backbone: Any, folder: Path, report: EventCallback | None) -> None:
        tf = import_backend("tensorflow")

        def run(images: Any) -> Any:
            return backbone(images, training=False)

        self._run = tf.function(run, reduce_retracing=True, autograph=False)
        self._folder = folder
        self._report = report

    def extract(self, name: str, batches: Any, *, view: int, views: int) -> NDArray[np.float32]:
        """Return the features of every image of a ``tf.data.Dataset``, or those kept earlier.

        Args:
            name: Of the file that keeps them.
            batches: (images, targets, seed).
            view: Number of this pass, from 0, for the report.
            views: Number of passes.
        """
        path = self._folder / f"features-{name}.npy"
        if path.is_file():
            return np.asarray(np.load(path, allow_pickle=False))
        meter = Meter(
            self._report, phase=Phase.FEATURES, epoch=view + 1, epochs=views, steps=len(batches)
        )
        parts = []
        for images, _, _ in batches:
            parts.append(self._run(images).numpy().astype(np.float32))
            meter.advance(len(parts[-1]))
        features = np.concatenate(parts)
        meter.finish({})
        with atomic_path(path) as temporary:
            np.save(temporary, features)
        return features

    def remove_kept(self) -> None:
        """Remove the kept results."""
        for path in self._folder.glob("features-*.npy"):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What the head is trained on and judged by."""

    train: FeatureSet
    val: FeatureSet


def extract_features(extractor: FeatureExtractor, source: ImageSource) -> Features:
    """Run every view of the training images, and the validation images, through the backbone."""
    views = source.num_views
    train = [
        extractor.extract(f"train-{n}", source.stream_view(n), view=n, views=views + 1)
        for n in range(views)
    ]
    val = extractor.extract("val", source.stream_val(), view=views, views=views + 1)
    return Features(
        train=FeatureSet(features=train, targets=np.asarray(source.data.train.targets, np.int32)),
        val=FeatureSet(features=[val], targets=np.asarray(source.data.val.targets, np.int32)),
    )

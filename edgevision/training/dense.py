"""What detectors and segmenters share in training: both answer for many places of an image."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgevision.training.job import Job, Stage
from edgevision.training.learner import Learner
from edgevision.training.network import build_logits, freeze_backbone
from edgevision.training.pipeline import EpochOrder


class DenseJob(Job):
    """A run whose both phases train on images; the backbone stands still in the first one."""

    model: Any

    @property
    def order(self) -> EpochOrder:
        """Which images each training step takes."""
        return EpochOrder(
            num_images=len(self.data.train),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
        )

    def build(self, *, load_weights: bool) -> None:
        """Build the network with raw outputs."""
        self.model = build_logits(self.config, self.num_classes, load_weights=load_weights)

    def plan_head(self, folder: Path) -> Stage:
        """Train what the backbone does not have, on images."""
        freeze_backbone(self.model, True)
        return self._plan(self.config.head_epochs)

    def plan_network(self) -> Stage:
        """Train everything."""
        freeze_backbone(self.model, False)
        return self._plan(self.config.epochs)

    def list_weights(self) -> list[NDArray[Any]]:
        """Return the weights of the whole network."""
        return list(self.model.get_weights())

    @abstractmethod
    def make_learner(self) -> Learner:
        """Return a learner of everything that is not frozen."""

    @abstractmethod
    def stream_train(self, span: tuple[int, int]) -> Any:
        """Stream augmented batches, from the first step to before the last."""

    @abstractmethod
    def stream_val(self) -> Any:
        """Stream the validation images in order."""

    def _plan(self, epochs: int) -> Stage:
        steps = self.order.steps
        return Stage(
            learner=self.make_learner(),
            steps=steps,
            batches=lambda start: self.stream_train((start, steps * epochs)),
            val_batches=self.stream_val(),
        )

    def run_model(self, images: Any, training: bool) -> Any:
        """Call the network on a batch; frozen layers keep their statistics."""
        return self.model(images, training=training)

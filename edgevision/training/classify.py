"""Training a classifier: a new head on features of the frozen backbone, then the whole network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.training.features import FeatureExtractor, extract_features
from edgevision.training.job import Job, Stage
from edgevision.training.learner import Batch, Learner
from edgevision.training.losses import balance_classes, cross_entropy, mix_images, smooth_targets
from edgevision.training.network import Network, build_network
from edgevision.training.sources import ImageSource, load_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a step of a classifier minimizes.

    Attributes:
        num_classes: Number of classes.
        label_smoothing: Share of the target spread over all classes.
        mixup: Parameter of mixup; 0 for none.
        class_weights: One weight per class.
    """

    num_classes: int
    label_smoothing: float
    mixup: float
    class_weights: tuple[float, ...]


class ClassifyLearner(Learner):
    """Steps a classifier; targets are (N,) class indices.

    Args:
        network: Called as ``network(inputs, training)``; returns logits.
        model: The Keras model that owns the weights.
        objective: What a step minimizes.
        weight_decay: Decoupled weight decay of kernels.
        trainable: The variables that steps change.
    """

    def __init__(
        self,
        network: Callable[[Any, bool], Any],
        model: Any,
        *,
        objective: Objective,
        weight_decay: float,
        trainable: Iterable[Any],
    ) -> None:
        super().__init__(network, model, weight_decay=weight_decay, trainable=trainable)
        self.objective = objective

    def compute_loss(self, inputs: Any, targets: Any, seed: Any) -> tuple[Any, dict[str, Any]]:
        """Return the smoothed and weighted cross entropy, and the accuracy of the batch."""
        tf = import_backend("tensorflow")
        goal = self.objective
        wanted = smooth_targets(targets, goal.num_classes, goal.label_smoothing)
        if goal.mixup:
            inputs, wanted = mix_images(inputs, wanted, mixup=goal.mixup, seed=seed)
        logits = self.network(inputs, True)
        loss = cross_entropy(wanted, logits, tf.constant(goal.class_weights, tf.float32))
        right = tf.equal(tf.argmax(logits, 1), tf.argmax(wanted, 1))
        return loss, {"accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}

    def judge(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return plain cross entropy and accuracy."""
        sums = np.zeros(3)
        for inputs, targets, _ in batches:
            loss, right = self._judge_step(inputs, targets)
            sums += float(loss), float(right), len(targets)
        return {"loss": float(sums[0] / sums[2]), "accuracy": float(sums[1] / sums[2])}

    @cached_property
    def _judge_step(self) -> Any:
        tf = import_backend("tensorflow")

        def step(inputs: Any, targets: Any) -> Any:
            logits = tf.cast(self.network(inputs, False), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            right = tf.equal(tf.argmax(logits, 1, targets.dtype), targets)
            return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.float32))

        return tf.function(step, reduce_retracing=True, autograph=False)


class ClassifyJob(Job):
    """The part of a run that is a classifier's."""

    metric = "accuracy"
    _network: Network
    _source: ImageSource

    def load(self, folder: Path, threads: int | None) -> None:
        """Decode all images once."""
        self._source = load_source(
            self.config,
            self.data,
            preprocessing=self.contract.preprocessing,
            size=self.size,
            folder=folder,
            threads=threads,
            report=self.report,
        )

    def build(self, *, load_weights: bool) -> None:
        """Build backbone and head."""
        self._network = build_network(self.config, self.num_classes, load_weights=load_weights)

    def plan_head(self, folder: Path) -> Stage:
        """Run the images through the backbone; the head trains on what comes out."""
        extractor = FeatureExtractor(self._network.backbone, folder, self.report)
        features = extract_features(extractor, self._source)
        order, epochs = self._source.order, self.config.head_epochs
        return Stage(
            learner=self._make_head_learner(),
            steps=order.steps,
            batches=lambda start: features.train.stream(order, start, order.steps * epochs),
            val_batches=features.val.batches(),
            clear=extractor.remove_kept,
        )

    def plan_network(self) -> Stage:
        """Train on images."""
        return Stage(
            learner=self._make_learner(),
            steps=self._source.order.steps,
            batches=self._source.stream_train,
            val_batches=self._source.stream_val(),
        )

    def list_weights(self) -> list[NDArray[Any]]:
        """Return the weights of backbone and head."""
        return list(self._network.model.get_weights())

    def complete_weights(self, head_weights: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Join the weights of a head with those of the backbone that it was trained on."""
        network = build_network(self.config, self.num_classes, load_weights=True)
        network.head.set_weights(head_weights)
        return list(network.model.get_weights())

    def _make_head_learner(self) -> Learner:
        """Return a learner of the head alone; its inputs are features."""
        head = self._network.head

        def run(features: Any, training: bool) -> Any:
            return head(features, training=training)

        return ClassifyLearner(
            run,
            head,
            objective=self._objective(mixup=0.0),
            weight_decay=self.config.weight_decay,
            trainable=head.trainable_variables,
        )

    def _make_learner(self) -> Learner:
        """Return a learner of everything; its inputs are images."""
        network = self._network

        def run(images: Any, training: bool) -> Any:
            own_statistics = training and not network.frozen_statistics
            features = network.backbone(images, training=own_statistics)
            return network.head(features, training=training)

        return ClassifyLearner(
            run,
            network.model,
            objective=self._objective(mixup=self.config.mixup),
            weight_decay=self.config.weight_decay,
            trainable=network.model.trainable_variables,
        )

    def _objective(self, *, mixup: float) -> Objective:
        weights = np.ones(self.num_classes, np.float32)
        if self.config.class_weights:
            weights = balance_classes(self.data.train.targets, self.num_classes)
        return Objective(
            num_classes=self.num_classes,
            label_smoothing=self.config.label_smoothing,
            mixup=mixup,
            class_weights=tuple(weights.tolist()),
        )

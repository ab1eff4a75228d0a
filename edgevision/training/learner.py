"""One trainable network: its steps, its judgement, and everything that a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.training.losses import cross_entropy, mix_images, smooth_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a step minimizes.

    Attributes:
        num_classes: Number of classes.
        label_smoothing: Share of the target spread over all classes.
        mixup: Parameter of mixup; 0 for none.
        class_weights: One weight per class.
        weight_decay: Decoupled weight decay of kernels.
    """

    num_classes: int
    label_smoothing: float
    mixup: float
    class_weights: tuple[float, ...]
    weight_decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Loss and accuracy over a set of images.

    Attributes:
        loss: Mean cross entropy (smoothed and weighted in training, plain in validation).
        accuracy: Share of right answers, 0–1.
    """

    loss: float
    accuracy: float


class Learner:
    """A network with its optimizer (AdamW), stepped by hand so that a resumed run is exact.

    Args:
        network: Called as ``network(inputs, training)``; returns logits.
        model: The Keras model that owns every weight that is saved and restored.
        objective: What a step minimizes.
        trainable: The variables that steps change.
    """

    def __init__(
        self,
        network: Callable[[Any, bool], Any],
        model: Any,
        *,
        objective: Objective,
        trainable: Iterable[Any],
    ) -> None:
        self.model = model
        self.objective = objective
        self._network = network
        self._trainable = list(trainable)
        self.optimizer = _create_optimizer(objective.weight_decay, self._trainable)

    def train(self, inputs: Any, targets: Any, seed: Any, learning_rate: float) -> tuple[Any, Any]:
        """Take one step; returns loss and accuracy of the batch as scalar tensors."""
        self.optimizer.learning_rate.assign(learning_rate)
        loss, accuracy = self._train_step(inputs, targets, seed)
        return loss, accuracy

    def judge(self, batches: Iterable[tuple[Any, Any, Any]]) -> Scores:
        """Measure the network on batches of (inputs, targets, seed)."""
        sums = np.zeros(3)
        for inputs, targets, _ in batches:
            loss, right = self._judge_step(inputs, targets)
            sums += float(loss), float(right), len(targets)
        return Scores(loss=float(sums[0] / sums[2]), accuracy=float(sums[1] / sums[2]))

    def seed_dropout(self, seed: int) -> None:
        """Make what dropout draws from here on a function of ``seed``."""
        for index, variable in enumerate(self._dropout_states):
            variable.assign(np.asarray([seed % 2**31, index], variable.dtype))

    def state(self) -> dict[str, list[NDArray[Any]]]:
        """Return every number that the next step depends on."""
        return {
            "weights": self.model.get_weights(),
            "optimizer": [np.asarray(v) for v in self.optimizer.variables],
        }

    def restore(self, state: dict[str, list[NDArray[Any]]]) -> None:
        """Set what ``state`` returned."""
        self.model.set_weights(state["weights"])
        for variable, value in zip(self.optimizer.variables, state["optimizer"], strict=True):
            variable.assign(value)

    @cached_property
    def _dropout_states(self) -> list[Any]:
        weights = {id(w) for w in self.model.weights}
        return [v for v in self.model.variables if id(v) not in weights and v.name == SEED_NAME]

    @cached_property
    def _train_step(self) -> Any:
        tf = import_backend("tensorflow")
        goal = self.objective
        class_weights = tf.constant(goal.class_weights, tf.float32)

        def step(inputs: Any, targets: Any, seed: Any) -> Any:
            wanted = smooth_targets(targets, goal.num_classes, goal.label_smoothing)
            if goal.mixup:
                inputs, wanted = mix_images(inputs, wanted, mixup=goal.mixup, seed=seed)
            with tf.GradientTape() as tape:
                logits = self._network(inputs, True)
                loss = cross_entropy(wanted, logits, class_weights)
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, self._trainable_values)
            self.optimizer.apply(gradients, self._trainable)
            right = tf.equal(tf.argmax(logits, 1), tf.argmax(wanted, 1))
            return loss, tf.reduce_mean(tf.cast(right, tf.float32))

        return tf.function(step, reduce_retracing=True, autograph=False)

    @cached_property
    def _judge_step(self) -> Any:
        tf = import_backend("tensorflow")

        def step(inputs: Any, targets: Any) -> Any:
            logits = tf.cast(self._network(inputs, False), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            right = tf.equal(tf.argmax(logits, 1, targets.dtype), targets)
            return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.float32))

        return tf.function(step, reduce_retracing=True, autograph=False)

    @property
    def _trainable_values(self) -> list[Any]:
        return [variable.value for variable in self._trainable]


SEED_NAME = "seed_generator_state"


def _create_optimizer(weight_decay: float, trainable: list[Any]) -> Any:
    keras = import_backend("keras")
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=weight_decay)
    # Decay pulls weights to 0: right for kernels, wrong for BatchNorm scales and biases.
    optimizer.exclude_from_weight_decay([v for v in trainable if len(v.shape) < 2])
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(trainable)
    return optimizer

"""One trainable network: its steps, its judgement, and everything that a checkpoint must hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend

Batch = tuple[Any, Any, Any]
"""(inputs, targets, seed); what ``targets`` are depends on the task."""

SEED_NAME = "seed_generator_state"


class Learner(ABC):
    """A network with its optimizer (AdamW), stepped by hand so that a resumed run is exact.

    Args:
        network: Called as ``network(inputs, training)``; returns the raw outputs.
        model: The Keras model that owns every weight that is saved and restored.
        weight_decay: Decoupled weight decay of kernels (Loshchilov and Hutter 2019).
        trainable: The variables that steps change.
    """

    def __init__(
        self,
        network: Callable[[Any, bool], Any],
        model: Any,
        *,
        weight_decay: float,
        trainable: Iterable[Any],
    ) -> None:
        self.model = model
        self.network = network
        self._trainable = list(trainable)
        self.optimizer = _create_optimizer(weight_decay, self._trainable)

    @abstractmethod
    def compute_loss(self, inputs: Any, targets: Any, seed: Any) -> tuple[Any, dict[str, Any]]:
        """Return the loss of a batch and further figures, scalar tensors; traced once."""

    @abstractmethod
    def judge(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Measure the network on batches: ``loss`` first, then the figures of the task."""

    def train(
        self, inputs: Any, targets: Any, seed: Any, learning_rate: float
    ) -> tuple[Any, dict[str, Any]]:
        """Take one step; returns the loss of the batch and further figures, scalar tensors."""
        self.optimizer.learning_rate.assign(learning_rate)
        loss, figures = self._train_step(inputs, targets, seed)
        return loss, figures

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

        def step(inputs: Any, targets: Any, seed: Any) -> Any:
            with tf.GradientTape() as tape:
                loss, figures = self.compute_loss(inputs, targets, seed)
                scaled = self.optimizer.scale_loss(loss)
            values = [variable.value for variable in self._trainable]
            self.optimizer.apply(tape.gradient(scaled, values), self._trainable)
            return loss, figures

        return tf.function(step, reduce_retracing=True, autograph=False)


def _create_optimizer(weight_decay: float, trainable: list[Any]) -> Any:
    keras = import_backend("keras")
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=weight_decay)
    # Decay pulls weights to 0: right for kernels, wrong for BatchNorm scales and biases.
    optimizer.exclude_from_weight_decay([v for v in trainable if len(v.shape) < 2])
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(trainable)
    return optimizer

"""What each task does its own way in a training run; everything else is shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from edgevision.contract import Contract
from edgevision.models.registry import configure
from edgevision.training.config import TrainingConfig
from edgevision.training.dataset import TrainingData
from edgevision.training.events import EventCallback
from edgevision.training.learner import Batch, Learner
from edgevision.training.network import save_model


def _keep_nothing() -> None:
    """Stand in for a phase that keeps no files."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """One phase of training, ready to run.

    Attributes:
        learner: Steps and judges.
        steps: Steps per epoch.
        batches: From a first step on, the batches to the end of the phase.
        val_batches: Everything to judge by, iterated once per epoch.
        clear: Removes what the phase kept in case that the run is killed.
    """

    learner: Learner
    steps: int
    batches: Callable[[int], Iterable[Batch]]
    val_batches: Iterable[Batch]
    clear: Callable[[], None] = _keep_nothing


class Job(ABC):
    """The part of a run that depends on its task.

    Args:
        config: The options.
        data: Training and validation data.
        contract: Of the model that comes out.
        report: Receives the events.

    Attributes:
        metric: Figure whose validation value makes an epoch the best.
    """

    metric: ClassVar[str]

    def __init__(
        self,
        config: TrainingConfig,
        data: TrainingData,
        contract: Contract,
        *,
        report: EventCallback | None,
    ) -> None:
        self.config, self.data, self.contract = config, data, contract
        self.report = report
        self.size = configure(config.name, input_size=config.input_size).input_size

    @property
    def num_classes(self) -> int:
        """Classes with a label."""
        return len(self.data.labels)

    @abstractmethod
    def load(self, folder: Path, threads: int | None) -> None:
        """Decode all images once.

        Args:
            folder: Existing folder for a pixel cache that does not fit into memory.
            threads: Decoding threads; ``None`` means one per core.

        Raises:
            DataError: Some images can not be read.
        """

    @abstractmethod
    def build(self, *, load_weights: bool) -> None:
        """Build the network.

        Args:
            load_weights: Whether to load ``config.weights``; not needed when a checkpoint follows.

        Raises:
            InvalidModelError: The weights file does not fit.
        """

    @abstractmethod
    def plan_head(self, folder: Path) -> Stage:
        """Prepare the phase that trains the head on the frozen backbone.

        Args:
            folder: For what the phase keeps in case that the run is killed.
        """

    @abstractmethod
    def plan_network(self) -> Stage:
        """Prepare the phase that trains the whole network."""

    @abstractmethod
    def list_weights(self) -> list[NDArray[Any]]:
        """Return the weights of the whole network."""

    def complete_weights(self, head_weights: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the weights of the whole network for those that the head's phase saved."""
        return head_weights

    def save(self, weights: list[NDArray[Any]], path: Path) -> None:
        """Write the model for inference with these weights, its contract inside.

        Raises:
            OutputError: The place can not be written.
        """
        save_model(weights, path, config=self.config, contract=self.contract)

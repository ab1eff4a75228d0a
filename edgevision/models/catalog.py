"""The list of the zoo: what each network costs, counted on the spot and without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from edgevision.graph.macs import count_macs
from edgevision.graph.params import count_params
from edgevision.models.registry import SPECS, build_graph
from edgevision.specs import Task, parse_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A line of the zoo's list; figures are for the defaults.

    Classifiers are counted with 1,000 classes, detectors with 90 and segmenters with 21.

    Attributes:
        name: What ``create_model`` takes.
        task: What it answers.
        family: Networks that share a paper.
        input_size: ``(height, width)``.
        alpha: Width multiplier.
        macs: Multiply-accumulates of convolutions and matrix products.
        params: All weights, BatchNorm statistics included.
        trainable_params: Those among them that training changes.
        paper: Where it is described.
    """

    name: str
    task: Task
    family: str
    input_size: tuple[int, int]
    alpha: float
    macs: int
    params: int
    trainable_params: int
    paper: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "name": self.name,
            "task": self.task.value,
            "family": self.family,
            "input_size": list(self.input_size),
            "alpha": self.alpha,
            "macs": self.macs,
            "params": self.params,
            "trainable_params": self.trainable_params,
            "paper": self.paper,
        }


def list_models(task: Task | str | None = None) -> list[ModelInfo]:
    """List the zoo, counted on the spot, in the order of its papers.

    Args:
        task: Only networks for this task.

    Raises:
        InvalidConfigError: There is no such task.

    >>> [m.name for m in list_models("classify")][:2]
    ['mobilenet_v1', 'mobilenet_v2']
    """
    wanted = None if task is None else parse_choice(Task, task, "task")
    return [_describe(name) for name, s in SPECS.items() if wanted in (None, s.task)]


@cache
def _describe(name: str) -> ModelInfo:
    spec = SPECS[name]
    graph = build_graph(name)
    params = count_params(graph)
    return ModelInfo(
        name=name,
        task=spec.task,
        family=spec.family,
        input_size=spec.input_size,
        alpha=spec.alpha,
        macs=count_macs(graph).total,
        params=params.total,
        trainable_params=params.trainable or 0,  # None is for deployed files
        paper=spec.paper,
    )

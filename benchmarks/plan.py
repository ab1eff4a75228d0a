"""``plan``: which networks of the zoo fit a budget, before anything is built or trained.

Every network is counted at every width and input size of the grid, from shapes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.benchmarks.budget import Budget, Miss, parse_amount
from edgevision.benchmarks.deployed import estimate_int8, is_int8_friendly
from edgevision.benchmarks.published import PUBLISHED, Published, find_published
from edgevision.errors import InvalidConfigError
from edgevision.graph.macs import count_macs
from edgevision.graph.params import count_params
from edgevision.models.config import NUM_CLASSES, parse_size
from edgevision.models.registry import SPECS, InputSize, build_graph, get_spec
from edgevision.models.spec import ModelSpec
from edgevision.specs import Task, parse_choice

ALPHAS = (0.25, 0.35, 0.5, 0.75, 1.0)
"""Widths that are tried for every network, beside those with a published accuracy."""

INPUT_SIDES = {
    Task.CLASSIFY: (96, 128, 160, 192, 224, 256),
    Task.DETECT: (160, 192, 224, 256, 320),
    Task.SEGMENT: (96, 128, 160, 192, 224, 256),
}
"""Sides that are tried for every network, beside its own and those with a published accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One network at one width and input size.

    Attributes:
        name: What ``create_model`` takes.
        task: What it answers.
        alpha: Width multiplier.
        input_size: ``(height, width)``.
        macs: Multiply-accumulates of one inference.
        params: All weights, BatchNorm statistics included.
        bytes: Estimated size of its int8 file.
        ram: Estimated bytes of the int8 file's activations.
        int8_friendly: Whether int8 kernels take it without a rewrite.
        published: ImageNet accuracy of exactly this network in float, where one is known.
    """

    name: str
    task: Task
    alpha: float
    input_size: tuple[int, int]
    macs: int
    params: int
    bytes: int
    ram: int
    int8_friendly: bool
    published: Published | None

    def find_misses(self, budget: Budget) -> tuple[Miss, ...]:
        """Return the limits that it breaks."""
        cost = {"macs": self.macs, "params": self.params, "bytes": self.bytes, "ram": self.ram}
        return budget.find_misses(cost)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``accuracy`` is top-1, null where nothing is published."""
        known = self.published
        return {
            "name": self.name,
            "task": self.task.value,
            "alpha": self.alpha,
            "input_size": list(self.input_size),
            "macs": self.macs,
            "params": self.params,
            "bytes": self.bytes,
            "ram": self.ram,
            "int8_friendly": self.int8_friendly,
            "accuracy": known.top1 if known else None,
            "top5": known.top5 if known else None,
            "source": known.source if known else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What fits.

    Attributes:
        candidates: The networks within the budget, the best first.
        budget: What they had to fit.
        num_classes: For how many classes they were counted.
        num_weighed: Networks that were looked at.
        nearest: Where nothing fits: the network that misses by least.
        misses: What the nearest one needs beyond the budget.
        notes: What was left out, and why.
    """

    candidates: tuple[Candidate, ...]
    budget: Budget
    num_classes: int
    num_weighed: int
    nearest: Candidate | None = None
    misses: tuple[Miss, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "candidates": [c.to_dict() for c in self.candidates],
            "budget": self.budget.to_dict(),
            "num_classes": self.num_classes,
            "num_weighed": self.num_weighed,
            "nearest": self.nearest.to_dict() if self.nearest else None,
            "misses": [miss.to_dict() for miss in self.misses],
        }


def plan(
    *,
    max_macs: int | str | None = None,
    max_params: int | str | None = None,
    max_bytes: int | str | None = None,
    max_ram: int | str | None = None,
    task: Task | str = Task.CLASSIFY,
    names: Sequence[str] | None = None,
    alphas: Sequence[float] | None = None,
    input_sizes: Sequence[InputSize] | None = None,
    num_classes: int | None = None,
    int8_friendly: bool = False,
) -> Plan:
    """Rank the networks of the zoo that fit a budget.

    Networks with a published ImageNet accuracy come first, the most accurate one at the top; all
    others follow, the one with the most multiply-accumulates first. Sizes and memory are those of
    an int8 file and are estimates; nothing is built, and TensorFlow is not loaded.

    Args:
        max_macs: Multiply-accumulates of one inference; a number, or a text such as ``"50M"``.
        max_params: Weights, BatchNorm statistics included.
        max_bytes: Size of the int8 file; ``"1MB"`` is 1,000,000, ``"1MiB"`` 1,048,576.
        max_ram: Bytes of the int8 file's activations.
        task: What the network is to answer.
        names: Only these networks; all of the task by default.
        alphas: Widths to try; ``ALPHAS`` and the published ones by default.
        input_sizes: Sides or ``(height, width)`` to try; ``INPUT_SIDES``, the network's own and
            the published ones by default.
        num_classes: 1,000, 90 or 21 by the task, if not given.
        int8_friendly: Only networks that int8 kernels take without a rewrite.

    Raises:
        InvalidConfigError: A budget is no amount or not above 0, or a choice is out of range.

    >>> best = plan(max_macs="50M", max_params="1M").candidates[0]
    >>> best.name, best.alpha, best.input_size, best.published.top1
    ('mobilenet_v1', 0.25, (224, 224), 0.498)
    """
    budget = Budget(
        macs=parse_amount(max_macs, "max_macs"),
        params=parse_amount(max_params, "max_params"),
        bytes=parse_amount(max_bytes, "max_bytes"),
        ram=parse_amount(max_ram, "max_ram"),
    )
    wanted = parse_choice(Task, task, "task")
    sizes = None if input_sizes is None else tuple(parse_size(size) for size in input_sizes)
    specs = _choose_specs(wanted, names)
    classes = NUM_CLASSES[wanted] if num_classes is None else num_classes
    weighed, refused = [], []
    for spec, alpha, size in _list_points(specs, alphas, sizes):
        try:
            weighed.append(_weigh(spec, alpha, size, classes))
        except InvalidConfigError as error:
            refused.append((spec, alpha, size, error))
    if not weighed:
        raise refused[0][-1]
    kept = [c for c in weighed if c.int8_friendly or not int8_friendly]
    fitting = sorted((c for c in kept if not c.find_misses(budget)), key=_rank)
    nearest = None if fitting else min(kept, key=lambda c: _worst_ratio(c, budget), default=None)
    return Plan(
        candidates=tuple(fitting),
        budget=budget,
        num_classes=classes,
        num_weighed=len(kept),
        nearest=nearest,
        misses=nearest.find_misses(budget) if nearest else (),
        notes=_tell_refused(refused) if sizes or alphas else (),
    )


def _choose_specs(task: Task, names: Sequence[str] | None) -> list[ModelSpec]:
    if names is None:
        return [spec for spec in SPECS.values() if spec.task is task]
    specs = [get_spec(name) for name in names]
    for spec in specs:
        if spec.task is not task:
            raise InvalidConfigError(
                f"a network of another task can not be planned for {task.value}",
                received=f"name={spec.name}, its task is {spec.task.value}",
                remedy=f"choose task {spec.task.value}, or leave the network out",
            )
    return specs


def _list_points(
    specs: Sequence[ModelSpec],
    alphas: Sequence[float] | None,
    sizes: Sequence[tuple[int, int]] | None,
) -> Iterator[tuple[ModelSpec, float, tuple[int, int]]]:
    """Yield every network at every width and input size; published ones are always among them."""
    for spec in specs:
        known = [(alpha, side) for name, alpha, side in PUBLISHED if name == spec.name]
        widths = {*ALPHAS, *(alpha for alpha, _ in known)} if alphas is None else {*alphas}
        own = {(side, side) for side in (*INPUT_SIDES[spec.task], *(side for _, side in known))}
        for alpha in sorted(widths):
            for size in sorted(own | {spec.input_size}) if sizes is None else dict.fromkeys(sizes):
                yield spec, alpha, size


def _weigh(spec: ModelSpec, alpha: float, size: tuple[int, int], classes: int) -> Candidate:
    graph = build_graph(spec.name, alpha=alpha, input_size=size, num_classes=classes)
    deployed = estimate_int8(graph)
    return Candidate(
        name=spec.name,
        task=spec.task,
        alpha=alpha,
        input_size=size,
        macs=count_macs(graph).total,
        params=count_params(graph).total,
        bytes=deployed.file_bytes,
        ram=deployed.ram_bytes,
        int8_friendly=is_int8_friendly(graph),
        published=find_published(spec.name, alpha, size),
    )


def _rank(candidate: Candidate) -> tuple[float, int, int]:
    """Order by accuracy, then (equal or unknown) by the cost that tells more of a network."""
    known = candidate.published
    if known is not None:
        return -known.top1, candidate.macs, candidate.params
    return 1.0, -candidate.macs, -candidate.params


def _worst_ratio(candidate: Candidate, budget: Budget) -> float:
    return max((miss.ratio for miss in candidate.find_misses(budget)), default=1.0)


def _tell_refused(
    refused: Sequence[tuple[ModelSpec, float, tuple[int, int], InvalidConfigError]],
) -> tuple[str, ...]:
    if not refused:
        return ()
    spec, alpha, (height, width), error = refused[0]
    return (
        f"{len(refused)} networks can not be built so and were left out, the first "
        f"{spec.name} {alpha:g} at {height}x{width}: {error.what}",
    )

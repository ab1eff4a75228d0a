"""The contract of a converted file: what the source says, what the caller says, what is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from edgevision.contract import Contract, Preprocessing
from edgevision.errors import DataError, InvalidConfigError, MissingFileError
from edgevision.graph.contracts import complete_contract
from edgevision.graph.graph import Graph
from edgevision.specs import ResizeRule, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractOptions:
    """What a caller may say about a model; ``None`` leaves it to the source.

    Attributes:
        task: What the model answers.
        labels: Text file with one class name a line.
        mean: One value or one per channel, in units of 0–255 pixels.
        std: The same; above 0.
        resize: How an image becomes the input size.
        crop_fraction: For ``resize=crop``.
    """

    task: Task | str | None = None
    labels: str | Path | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    resize: ResizeRule | str | None = None
    crop_fraction: float | None = None

    def to_overrides(self) -> dict[str, Any]:
        """Return what was given, with the label file read.

        Raises:
            InvalidConfigError: An option has no such value.
            MissingFileError: The label file does not exist.
            DataError: The label file is no text or is empty.
        """
        given: dict[str, Any] = {
            "task": None if self.task is None else _parse(Task, self.task, "task"),
            "resize": None if self.resize is None else _parse(ResizeRule, self.resize, "resize"),
            "mean": _spread(self.mean),
            "std": _spread(self.std),
            "crop_fraction": self.crop_fraction,
            "labels": None if self.labels is None else read_labels(self.labels),
        }
        return {name: value for name, value in given.items() if value is not None}


def build_contract(
    stated: Contract | None,
    graph: Graph,
    *,
    options: ContractOptions,
    preprocessing: Preprocessing | None = None,
    name: str = "",
) -> Contract:
    """Put the contract of a converted model together.

    Args:
        stated: The contract inside the source, if it has one.
        graph: The converted model.
        options: What the caller says; it wins over everything else.
        preprocessing: What the network leaves to do, where it normalizes its input itself. It
            fills in for a missing statement.
        name: Name of the model where the source gives none.

    Raises:
        InvalidConfigError: The options contradict the model, for example 10 labels for 5 classes.
        MissingFileError: The label file does not exist.
    """
    overrides = options.to_overrides()
    if stated is None and preprocessing is not None:
        overrides = {"mean": preprocessing.mean, "std": preprocessing.std, **overrides}
    contract = complete_contract(stated, graph, overrides)
    contract = contract if contract.name else replace(contract, name=name)
    _check_labels(contract, graph)
    return contract


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read class names, one a line; blank lines at the end are ignored.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is not UTF-8 text, or holds no name.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError("the label file does not exist", received=source) from error
    except (UnicodeDecodeError, OSError) as error:
        raise DataError("the label file is not readable text", received=source) from error
    labels = tuple(line.strip() for line in text.rstrip().splitlines())
    if not labels:
        raise DataError("the label file is empty", received=source)
    return labels


def _check_labels(contract: Contract, graph: Graph) -> None:
    if contract.task is not Task.CLASSIFY or not contract.labels or len(graph.outputs) != 1:
        return
    num_classes = prod(graph.output_specs()[0].shape)
    if num_classes > 0 and len(contract.labels) != num_classes:
        raise InvalidConfigError(
            "a classifier has one label per output",
            received=f"{len(contract.labels)} labels, {num_classes} outputs",
            remedy="give a file with one label a line, in the order of the outputs",
        )


def describe_assumptions(contract: Contract) -> list[str]:
    """Say in words what a person should check, because nobody stated it."""
    values: Mapping[str, Any] = {
        "task": contract.task.value,
        "mean": ", ".join(f"{v:g}" for v in contract.preprocessing.mean),
        "std": ", ".join(f"{v:g}" for v in contract.preprocessing.std),
        "resize": contract.preprocessing.resize.value,
    }
    assumed = [f"{name} {values[name]}" for name in values if name in contract.assumed]
    if not assumed:
        return []
    return [f"the source does not state its preprocessing; assumed {'; '.join(assumed)}"]


def _parse(kind: Any, value: object, name: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise InvalidConfigError(
            f"unknown {name}", received=f"{name}={value}", remedy=f"use {', '.join(kind)}"
        ) from None


def _spread(value: float | tuple[float, ...] | None) -> tuple[float, ...] | None:
    return (float(value),) if isinstance(value, int | float) else value

"""Checks and names that every session shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgevision.errors import InvalidConfigError
from edgevision.specs import TensorSpec


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Hold that each declared input is given, with its shape and dtype.

    Args:
        specs: What the session takes; -1 stands for any length.
        inputs: Arrays by input name.

    Raises:
        InvalidConfigError: A name is missing or unknown, or an array has another shape or dtype.

    >>> check_inputs([TensorSpec(name="x", shape=(1, 2), dtype="float32")], {"y": np.zeros(2)})
    Traceback (most recent call last):
    edgevision.errors.InvalidConfigError: the model takes the inputs x (y)
    """
    if len(inputs) != len(specs) or any(spec.name not in inputs for spec in specs):
        wanted = ", ".join(spec.name for spec in specs)
        raise InvalidConfigError(
            f"the model takes the inputs {wanted}", received=", ".join(inputs) or "none"
        )
    for spec in specs:
        array = inputs[spec.name]
        if array.dtype != _find_dtype(spec.dtype) or not _fits(array.shape, spec.shape):
            raise InvalidConfigError(
                f"input {spec.name!r} must be {spec.dtype} of shape {spec.shape}",
                received=f"{array.dtype.name} of shape {array.shape}",
            )


@cache
def _find_dtype(name: str) -> np.dtype[Any]:
    """Look a dtype up once: NumPy composes its name anew every time it is asked for."""
    try:
        return np.dtype(name)
    except TypeError:  # text and other types that NumPy calls differently
        return np.dtype(object)


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    if shape == declared:
        return True
    return len(shape) == len(declared) and all(
        d in (-1, s) for s, d in zip(shape, declared, strict=True)
    )


def name_uniquely(names: Sequence[str]) -> list[str]:
    """Number the names that occur more than once, because results are looked up by name.

    >>> name_uniquely(["scores", "box", "box"])
    ['scores', 'box:0', 'box:1']
    """
    total, seen, unique = Counter(names), Counter[str](), []
    for name in names:
        unique.append(f"{name}:{seen[name]}" if total[name] > 1 else name)
        seen[name] += 1
    return unique

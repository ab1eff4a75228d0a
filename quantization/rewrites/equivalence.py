"""Does a rewritten float network still give the same answers?"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.quantization.answers import run_network

Array = np.ndarray[Any, Any]

_IMAGES = 4
_TOLERANCE = 1e-5


def is_equivalent(model: bytes, rewritten: bytes, images: Array) -> bool:
    """Compare both float networks on a few images.

    Args:
        model: Bytes of the float ``.tflite``.
        rewritten: Bytes of its other form.
        images: (N, *input shape) float32.

    Returns:
        Whether no output differs by more than 1e-5 of the largest one.
    """
    some = images[:_IMAGES]
    pairs = zip(run_network(model, some), run_network(rewritten, some), strict=True)
    return all(_differ_little(before, after) for before, after in pairs)


def _differ_little(before: Array, after: Array) -> bool:
    reach = float(np.abs(before).max(initial=0.0))
    return float(np.abs(after - before).max(initial=0.0)) <= _TOLERANCE * reach

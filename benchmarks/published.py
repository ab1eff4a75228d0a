"""ImageNet accuracy that others published for networks of the zoo: figures and where they stand.

Only accuracies are taken over. What the same tables say about multiply-accumulates is not used:
some of it is wrong, and every network is counted here anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_SLIM = "https://github.com/tensorflow/models/blob/master/research/slim/nets/"
V1_SOURCE = f"TF-Slim, mobilenet_v1.md ({_SLIM}mobilenet_v1.md)"
V2_SOURCE = f"TF-Slim, mobilenet/README.md ({_SLIM}mobilenet/README.md)"
V3_SOURCE = V2_SOURCE
V4_SOURCE = "timm, README of June 2024 (https://github.com/huggingface/pytorch-image-models)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Accuracy of one trained network on the 50,000 validation images of ImageNet-1K.

    Attributes:
        top1: Share of images whose class is the best answer, in float.
        top5: Share of images whose class is among the best five; ``None`` where it is not told.
        source: Document that tells it.
    """

    top1: float
    top5: float | None
    source: str


# Percent (top-1, top-5) by alpha and side of the input, as the sources print them.
_V1: dict[float, dict[int, tuple[float, float]]] = {
    1.0: {224: (70.9, 89.9), 192: (70.0, 89.2), 160: (68.0, 87.7), 128: (65.2, 85.8)},
    0.75: {224: (68.4, 88.2), 192: (67.2, 87.3), 160: (65.3, 86.0), 128: (62.1, 83.9)},
    0.5: {224: (63.3, 84.9), 192: (61.7, 83.6), 160: (59.1, 81.9), 128: (56.3, 79.4)},
    0.25: {224: (49.8, 74.2), 192: (47.7, 72.3), 160: (45.5, 70.3), 128: (41.5, 66.3)},
}
_V2: dict[float, dict[int, tuple[float, float]]] = {
    1.4: {224: (75.0, 92.5)},
    1.3: {224: (74.4, 92.1)},
    1.0: {
        224: (71.8, 91.0),
        192: (70.7, 90.1),
        160: (68.8, 89.0),
        128: (65.3, 86.9),
        96: (60.3, 83.2),
    },
    0.75: {
        224: (69.8, 89.6),
        192: (68.7, 88.9),
        160: (66.4, 87.3),
        128: (63.2, 85.3),
        96: (58.8, 81.6),
    },
    0.5: {
        224: (65.4, 86.4),
        192: (63.9, 85.4),
        160: (61.0, 83.2),
        128: (57.7, 80.8),
        96: (51.2, 75.8),
    },
    0.35: {
        224: (60.3, 82.9),
        192: (58.2, 81.2),
        160: (55.7, 79.1),
        128: (50.8, 75.0),
        96: (45.5, 70.4),
    },
}
# Percent top-1 by name, alpha and side.
_V3 = {
    ("mobilenet_v3_large", 1.0, 224): 75.2,
    ("mobilenet_v3_large", 0.75, 224): 73.3,
    ("mobilenet_v3_small", 1.0, 224): 67.5,
    ("mobilenet_v3_small", 0.75, 224): 65.4,
    ("mobilenet_v3_large_minimalistic", 1.0, 224): 72.3,
    ("mobilenet_v3_small_minimalistic", 1.0, 224): 61.9,
}
# Percent (top-1, top-5) by name, alpha and side.
_V4 = {
    ("mobilenet_v4_conv_small", 1.0, 224): (73.8, 91.4),
    ("mobilenet_v4_conv_small", 1.0, 256): (74.6, 92.1),
    ("mobilenet_v4_conv_medium", 1.0, 224): (79.1, 94.8),
    ("mobilenet_v4_conv_medium", 1.0, 256): (79.9, 95.2),
    ("mobilenet_v4_conv_large", 1.0, 256): (81.9, 95.7),
    ("mobilenet_v4_conv_large", 1.0, 384): (83.0, 96.3),
}

Key = tuple[str, float, int]


def _collect() -> dict[Key, Published]:
    rows: dict[Key, Published] = {}
    for name, table, source in (("mobilenet_v1", _V1, V1_SOURCE), ("mobilenet_v2", _V2, V2_SOURCE)):
        for alpha, sides in table.items():
            for side, (top1, top5) in sides.items():
                rows[name, alpha, side] = _from_percent(top1, top5, source)
    rows.update({key: _from_percent(top1, None, V3_SOURCE) for key, top1 in _V3.items()})
    rows.update({key: _from_percent(*figures, V4_SOURCE) for key, figures in _V4.items()})
    return rows


def _from_percent(top1: float, top5: float | None, source: str) -> Published:
    return Published(
        top1=round(top1 / 100, 4),
        top5=None if top5 is None else round(top5 / 100, 4),
        source=source,
    )


PUBLISHED: Mapping[Key, Published] = MappingProxyType(_collect())
"""By name, alpha and side of the input in pixels."""


def find_published(name: str, alpha: float, input_size: tuple[int, int]) -> Published | None:
    """Return the published accuracy of a network at exactly this width and input size, if any.

    >>> find_published("mobilenet_v1", 0.25, (128, 128)).top1
    0.415
    >>> find_published("mobilenet_v1", 0.3, (128, 128)) is None
    True
    """
    height, width = input_size
    return PUBLISHED.get((name, alpha, height)) if height == width else None

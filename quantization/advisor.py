"""What the calibration images say of themselves: are there enough, and are they the right ones?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgevision.contract import Contract, Preprocessing
from edgevision.graph.graph import Graph
from edgevision.quantization.calibrate import Calibration, name_tensor
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.layers import find_layers
from edgevision.quantization.network import FloatNetwork
from edgevision.quantization.normalization import find_wrong_scale
from edgevision.quantization.similarity import count_near_duplicates

Array = np.ndarray[Any, Any]

FEW_IMAGES = 20
"""Below this many calibration images a warning is given."""

# Half of 100 photos covers 0.92 and more of the ranges on the networks that were measured.
_LEAST_COVERAGE = 0.85
_MOST_DUPLICATES = 0.2
# Pruned networks that are sound have 0.63.
_MOST_DEAD = 0.8
_DRAWS = 8
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadChannels:
    """Channels of one layer that hold the same value on all images.

    Attributes:
        layer: Name of the layer's output.
        dead: How many.
        channels: Of so many.
    """

    layer: str
    dead: int
    channels: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"layer": self.layer, "dead": self.dead, "channels": self.channels}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """What was seen of the calibration images.

    Attributes:
        images: How many were used.
        near_duplicates: Images that are nearly the same as another one.
        coverage: Share of the ranges that half of the images, drawn at random, already reach, 0 to
            1; the mean over tensors and draws.
        range_growth: By how much the second half still widens the tensors that it widens most: name
            and share, largest first.
        dead_channels: Layers with channels that never change.
        dead_share: Of all channels.
        cached: Whether it was measured in an earlier run.
        warnings: What a person should know, one sentence each.
    """

    images: int
    near_duplicates: int
    coverage: float
    range_growth: tuple[tuple[str, float], ...]
    dead_channels: tuple[DeadChannels, ...]
    dead_share: float
    cached: bool = False
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the warnings stand beside them in the result."""
        return {
            "images": self.images,
            "near_duplicates": self.near_duplicates,
            "coverage": round(self.coverage, 4),
            "range_growth": [
                {"layer": layer, "growth": round(growth, 4)} for layer, growth in self.range_growth
            ],
            "dead_share": round(self.dead_share, 4),
            "cached": self.cached,
            "dead_channels": [layer.to_dict() for layer in self.dead_channels],
        }


def review_calibration(
    network: FloatNetwork,
    images: CalibrationImages,
    calibration: Calibration,
    preprocessing: Preprocessing,
) -> CalibrationReport:
    """Look at the images and at what they did in the float network.

    Args:
        network: The float network.
        images: Iterated over.
        calibration: What was measured on them.
        preprocessing: How they were normalized.
    """
    coverage, growth = measure_growth(calibration)
    layers = find_dead_channels(network.graph, calibration)
    order = np.argsort(-growth, kind="stable")[:_SHOWN]
    names = [name_tensor(network.graph, tensor) for tensor in calibration.ranges]
    report = CalibrationReport(
        images=images.num_used,
        cached=calibration.cached,
        near_duplicates=count_near_duplicates(images.hashes),
        coverage=coverage,
        range_growth=tuple((names[i], float(growth[i])) for i in order if growth[i] > 0),
        dead_channels=tuple(layer for layer in layers if layer.dead),
        dead_share=sum(x.dead for x in layers) / max(sum(x.channels for x in layers), 1),
    )
    wrong = find_wrong_scale(network, images.kept, preprocessing) if images.has_contrast else None
    return _add_warnings(report, images, wrong)


def warn_of_source(contract: Contract, images: CalibrationImages | None) -> list[str]:
    """Say what was assumed of a file, and which images were left out."""
    found = []
    if contract.assumed:
        names = ", ".join(name.rpartition(".")[2] for name in contract.assumed)
        found.append(f"the file does not state its {names}: assumed the usual values")
    if images is not None and images.skipped:
        found.append(f"left out {len(images.skipped)} broken calibration images")
    return found


def warn_of_few_images(count: int) -> list[str]:
    """Say that ranges from so few calibration images are uncertain."""
    if count >= FEW_IMAGES:
        return []
    return [
        f"only {count} calibration image{'s' if count > 1 else ''}: ranges from fewer than "
        f"{FEW_IMAGES} are uncertain, about 100 are good"
    ]


def measure_growth(calibration: Calibration) -> tuple[float, Array]:
    """Measure how much of the ranges half of the images reach, on average over random halves.

    Files are often sorted by class: halves in their order would tell of the classes.

    Returns:
        The mean share over all tensors, and (T,) how much the other half widens each, 0 and more.
    """
    count, tensors = calibration.lows.shape
    whole = _measure_widths(calibration, np.arange(count))
    if count < 2 or not (whole > 0).any():
        return 1.0, np.zeros(tensors)
    rng = np.random.default_rng(0)
    draws = (rng.permutation(count) for _ in range(_DRAWS))
    halves = [half for order in draws for half in np.array_split(order, 2)]
    reached = np.mean([_measure_widths(calibration, half) for half in halves], axis=0)
    used = whole > 0
    shares = reached[used] / whole[used]
    growth = np.zeros(tensors)
    growth[used] = 1 / np.maximum(shares, 1e-3) - 1
    return float(shares.mean()), growth


def find_dead_channels(graph: Graph, calibration: Calibration) -> list[DeadChannels]:
    """Count the channels of every layer with weights that hold one value on all images."""
    if len(calibration.lows) < 2:  # behind a pooling every value is the only one
        return []
    found = []
    for op in find_layers(graph):
        seen = calibration.ranges.get(op.outputs[0])
        if seen is not None:
            dead = int((seen.low == seen.high).sum())
            name = name_tensor(graph, op.outputs[0])
            found.append(DeadChannels(layer=name, dead=dead, channels=seen.high.size))
    return found


def _measure_widths(calibration: Calibration, images: Array) -> Array:
    """Return (T,) the width of each tensor's range on some images; zero always lies within."""
    lows = np.minimum(calibration.lows[images].min(axis=0), 0.0)
    return np.asarray(np.maximum(calibration.highs[images].max(axis=0), 0.0) - lows)


def _add_warnings(
    report: CalibrationReport, images: CalibrationImages, wrong_scale: str | None
) -> CalibrationReport:
    count = report.images
    found = [*([wrong_scale] if wrong_scale else []), *warn_of_few_images(count)]
    if not images.has_contrast:
        found.append(
            "every calibration image is of one colour, so that ranges mean little: use photos like "
            "those that the model will see"
        )
    elif report.near_duplicates > _MOST_DUPLICATES * count:
        found.append(
            f"{report.near_duplicates} of {count} calibration images are nearly the same as "
            "others: they count as one, so give different ones"
        )
    if count >= FEW_IMAGES and report.coverage < _LEAST_COVERAGE:
        found.append(
            f"half of the calibration images reach only {report.coverage:.0%} of the ranges of "
            "all: the rest still widened them, so give more images"
        )
    if images.has_contrast and report.dead_share > _MOST_DEAD:
        found.append(
            f"{report.dead_share:.0%} of all channels never change on the calibration images: use "
            "images like those that the model was trained on, and check mean and std"
        )
    return replace(report, warnings=tuple(found))

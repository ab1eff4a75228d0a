"""The diagnosis of a quantized network: every layer, every cause, and one line about the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.data.images import spread_evenly
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import quantize_images
from edgevision.quantization.constants import unpack_constants
from edgevision.quantization.diagnose import measure_total_sqnr_db
from edgevision.quantization.diagnosis.causes import Cause, Finding, explain_layer
from edgevision.quantization.diagnosis.evidence import LayerEvidence, Values
from edgevision.quantization.diagnosis.measure import LayerWalk, Measurement
from edgevision.quantization.diagnosis.rules_activations import (
    describe_clipping,
    describe_wide_range,
)
from edgevision.quantization.diagnosis.thresholds import SOUND_DB, SOUND_OUTPUT_DB, is_below
from edgevision.quantization.layers import WEIGHTED
from edgevision.quantization.steps import Step
from edgevision.quantization.walk import Walk, measure_image_bytes
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]

MAX_IMAGES = 16
"""Images on which layers are measured; more change the figures by less than a decibel."""

_MAX_BYTES = 512 * 2**20
# Activations of one layer, float and integer, and what is made of them to measure.
_COPIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What every layer lost, and why.

    Attributes:
        images: How many were measured on.
        sqnr_db: Signal-to-noise ratio of all outputs; ``None`` where they are equal, or can not be
            compared.
        layers: What was measured of each, in the order of execution.
        findings: Causes with their evidence, the worst layer first.
        rescaled: Layers whose channels the quantizer scaled, copied or dropped before rounding; the
            figures are of the channels as the float network has them.
        unpaired: Layers with weights that only one of both networks has.
    """

    images: int
    sqnr_db: float | None
    layers: tuple[LayerEvidence, ...]
    findings: tuple[Finding, ...]
    rescaled: int = 0
    unpaired: int = 0

    @property
    def sound(self) -> bool:
        """Whether the outputs follow the float ones."""
        return not is_below(self.sqnr_db, SOUND_OUTPUT_DB)

    @property
    def float_ops(self) -> dict[str, int]:
        """TFLite names of the operations whose outputs stayed float, and how many of each."""
        return dict(Counter(layer.op for layer in self.layers if not layer.output.bits))

    @property
    def verdict(self) -> str:
        """One line about the whole network."""
        whole = "equal to the last bit" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB"
        weakest = find_weakest(self.layers)
        alone = ""
        if weakest is not None:
            kept = f"{weakest.local_sqnr_db:.1f} dB"
            alone = f"; alone, the weakest layer, {weakest.name}, keeps {kept}"
        if self.sound and not self.findings:
            return f"healthy: {whole} at the output{alone}"
        if self.sound:
            count = len({finding.index for finding in self.findings})
            noun = "1 place loses" if count == 1 else f"{count} places lose"
            return f"the output keeps {whole}, which is sound, yet {noun} more than need be"
        return f"the output keeps only {whole}{alone}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "verdict": self.verdict,
            "sound": self.sound,
            "images": self.images,
            "sqnr_db": self.sqnr_db,
            "sound_db": SOUND_DB,
            "float_ops": self.float_ops,
            "rescaled_layers": self.rescaled,
            "unpaired_layers": self.unpaired,
            "findings": [finding.to_dict() for finding in self.findings],
            "layers": [layer.to_dict() for layer in self.layers],
        }


def diagnose_networks(
    models: tuple[bytes, bytes],
    images: Array,
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure every layer of a quantized network against the float one, and look for causes.

    Neither model is changed.

    Args:
        models: Bytes of the float and of the quantized ``.tflite``, without endings.
        images: (N, *input shape) float32; a few of them are used.
        threads: Interpreters that share the images.
        progress: Called after every layer.

    Raises:
        InvalidModelError: The two are not the same network.
    """
    before, after = (unpack_constants(model) for model in models)
    graph = read_tflite(after)
    few = choose_images(read_tflite(before), images)
    stored = quantize_images(few, graph.tensors[graph.inputs[0]])
    walks = Walk(before, few, threads), Walk(after, stored, threads)
    return diagnose_walks(walks, few, progress=progress)


def choose_images(graph: Graph, images: Array) -> Array:
    """Choose as many images as memory has room for, evenly spaced."""
    room = _MAX_BYTES // (_COPIES * max(measure_image_bytes(graph), 1))
    return np.stack(spread_evenly(list(images), max(1, min(MAX_IMAGES, room))))


def diagnose_walks(
    walks: tuple[LayerWalk, LayerWalk], images: Array, *, progress: Progress | None = None
) -> Diagnosis:
    """Measure every layer of two networks on their way, and look for causes.

    Args:
        walks: The float and the quantized network, before their first operation.
        images: (N, *input shape) float32, on which they walk.
        progress: Called after every layer.

    Raises:
        InvalidModelError: The two are not the same network.
    """
    measurement = Measurement(walks, images)
    seen = measurement.measure_input()
    layers = measurement.measure_layers(progress)
    sqnr_db = _measure_outputs(*measurement.read_outputs())
    findings = [*_explain_input(seen)]
    for layer in sorted(layers, key=_get_worst):
        findings.extend(explain_layer(layer))
    if is_below(sqnr_db, SOUND_OUTPUT_DB):
        findings.extend(_explain_sum(layers, {finding.index for finding in findings}))
    return Diagnosis(
        images=len(images),
        sqnr_db=sqnr_db,
        layers=layers,
        findings=tuple(findings),
        rescaled=measurement.rescaled,
        unpaired=measurement.unpaired,
    )


def find_weakest(layers: Sequence[LayerEvidence]) -> LayerEvidence | None:
    """Return the layer that alone loses most, ``None`` where none loses anything."""
    known = [layer for layer in layers if layer.local_sqnr_db is not None]
    return min(known, key=lambda layer: layer.local_sqnr_db or 0.0, default=None)


def _get_worst(layer: LayerEvidence) -> float:
    return float("inf") if layer.worst_db is None else layer.worst_db


def _measure_outputs(expected: tuple[Array, ...], actual: tuple[Array, ...]) -> float | None:
    if [v.shape for v in expected] != [v.shape for v in actual]:
        return None
    return measure_total_sqnr_db(expected, actual)


def _explain_input(values: Values) -> list[Finding]:
    """Look at the images against the range that the quantized network takes."""
    evidence = describe_wide_range(values)
    if is_below(values.sqnr_db, SOUND_DB):
        evidence = evidence or describe_clipping(values)
    if evidence is None:
        return []
    return [
        Finding(
            layer="input",
            index=-1,
            cause=Cause.WRONG_INPUT_RANGE,
            title="an input range that does not fit the images",
            evidence=evidence,
            remedy="quantize again with the right --mean and --std",
        )
    ]


def _explain_sum(layers: Sequence[LayerEvidence], explained: set[int]) -> list[Finding]:
    """Tell that small losses added up before the first layer that has a cause of its own.

    Args:
        layers: In the order of execution.
        explained: Indices of those with a cause; -1 for the input.
    """
    first = next((i for i, layer in enumerate(layers) if layer.index in explained), len(layers))
    sound = layers[:first] if -1 not in explained else ()
    weakest = find_weakest(sound)
    shares = [layer.shares.weights for layer in sound if layer.shares and layer.kind in WEIGHTED]
    last = next((layer for layer in reversed(sound) if layer.sqnr_db is not None), None)
    if weakest is None or last is None or not shares:
        return []
    if is_below(weakest.local_sqnr_db, SOUND_DB) or not is_below(last.sqnr_db, SOUND_OUTPUT_DB):
        return []
    weights = float(np.mean(shares))
    mostly_weights = weights >= 0.5
    return [
        Finding(
            layer="",
            index=-1,
            cause=Cause.ACCUMULATED_NOISE,
            title="small losses that add up",
            evidence=(
                f"none of the first {len(shares)} layers with weights alone falls below "
                f"{weakest.local_sqnr_db:.0f} dB, yet one behind the other they leave "
                f"{last.sqnr_db:.1f} dB at {last.name}; on average "
                f"{weights if mostly_weights else 1 - weights:.0%} of the noise of a layer comes "
                f"from rounding the {'weights' if mostly_weights else 'activations'}"
            ),
            remedy=(
                f"{Step.ROUNDING} and {Step.BIAS_CORRECTION}"
                if mostly_weights
                else f"{Step.ACTIVATION_EQUALIZATION}, --ranges mse, or --scheme int16x8"
            ),
        )
    ]

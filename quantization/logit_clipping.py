"""A finer range for what a softmax reads: very small logits share one code.

Logits range from far below zero to the one of the answer, and 256 steps over all of it make the
best two equal on several images in a hundred. What is ten below the best adds nothing to the
probabilities: clipping the lower end where it brings the probabilities closest makes the steps
finer where answers are told apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.metrics.classification import softmax
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

_CANDIDATES = 32
_CODES = 255
# Fewer images than this do not tell how far down logits matter.
_MIN_IMAGES = 8


def clip_logits(network: N, images: Array) -> tuple[N, int]:
    """Narrow the ranges of what softmax operations read.

    Args:
        network: With its ranges.
        images: (N, *input shape) float32 inputs.

    Returns:
        The network with narrower ranges for the logits and the reshapes that they pass through,
        and the number of tensors that changed.
    """
    narrowed = dict(network.ranges)
    if len(images) < _MIN_IMAGES:
        return network, 0
    changed = 0
    for chain in find_logits(network.graph):
        (logits,) = network.run(images, chain[:1])
        logits = logits.reshape(-1, logits.shape[-1])
        low = choose_low(logits, *network.ranges[chain[0]].bounds())
        for tensor in chain:
            seen = network.ranges[tensor]
            changed += low > seen.bounds()[0]
            narrowed[tensor] = ChannelRange(low=np.maximum(seen.low, low), high=seen.high)
    return network.with_ranges(narrowed), changed


def find_logits(graph: Graph) -> list[tuple[int, ...]]:
    """List what softmax operations alone read: the tensor, then those it was reshaped from."""
    found = (op for op in graph.ops if op.kind is OpKind.SOFTMAX and _is_along_last(graph, op))
    chains = (_follow_up(graph, op) for op in found)
    return [chain for chain in chains if all(_has_one_reader(graph, t) for t in chain)]


def choose_low(logits: Array, low: float, high: float) -> float:
    """Choose the lower end of the range that keeps the probabilities closest.

    Args:
        logits: (N, C) float.
        low: The true minimum.
        high: The true maximum; it stays.
    """
    expected = softmax(logits)
    candidates = np.linspace(low, high, _CANDIDATES, endpoint=False)
    errors = []
    for candidate in candidates:
        step = (high - candidate) / _CODES
        stored = np.rint(np.clip(logits, candidate, high) / step) * step
        errors.append(np.square(softmax(stored) - expected).mean())
    return float(candidates[int(np.argmin(errors))])


def _follow_up(graph: Graph, op: Op) -> tuple[int, ...]:
    chain = [op.inputs[0]]
    producer = graph.producers.get(chain[-1])
    while producer is not None and graph.ops[producer].kind is OpKind.RESHAPE:
        chain.append(graph.ops[producer].inputs[0])
        producer = graph.producers.get(chain[-1])
    return tuple(chain)


def _is_along_last(graph: Graph, op: Op) -> bool:
    """Whether a softmax is one over the last axis: in ONNX it may be over another."""
    rank = len(graph.tensors[op.inputs[0]].shape)
    return op.name.upper() == "SOFTMAX" and op.attributes.get("axis", -1) in (-1, rank - 1)


def _has_one_reader(graph: Graph, tensor: int) -> bool:
    return len(graph.consumers.get(tensor, ())) == 1 and tensor not in graph.outputs

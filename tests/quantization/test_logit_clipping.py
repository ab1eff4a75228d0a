from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.logit_clipping import choose_low, clip_logits, find_logits
from edgevision.quantization.network import Network


def count_ties(logits: np.ndarray, low: float, high: float) -> int:
    step = (high - low) / 255
    stored = np.rint(np.clip(logits, low, high) / step)
    return int((np.sort(stored)[:, -1] == np.sort(stored)[:, -2]).sum())


def test_steps_become_finer_where_answers_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-10, 4, (200, 50))
    logits[:, :2] = 12 + rng.normal(0, 0.3, (200, 2))
    low, high = float(logits.min()), float(logits.max())
    clipped = choose_low(logits, low, high)
    assert low < clipped < 10
    assert count_ties(logits, clipped, high) < count_ties(logits, low, high)


def test_even_logits_keep_their_range() -> None:
    logits = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    assert choose_low(logits, -1, 1) < -0.9


def test_only_the_logits_change() -> None:
    model = build_classifier(num_classes=4, size=8)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (10, 1, 8, 8, 3)).astype(np.float32)
    ranges = collect_ranges(model, graph, images)
    ((logits,),) = find_logits(graph)
    assert graph.tensors[logits].name == "scores"
    network = Network(model=model, graph=graph, ranges=ranges)
    clipped, changed = clip_logits(network, images)
    narrowed = clipped.ranges
    assert changed == (narrowed[logits].bounds() != ranges[logits].bounds())
    assert all(narrowed[t] is ranges[t] for t in ranges if t != logits)
    assert narrowed[logits].bounds()[0] >= ranges[logits].bounds()[0]
    assert narrowed[logits].bounds()[1] == ranges[logits].bounds()[1]
    assert clip_logits(network, images[:3]) == (network, 0)


def test_no_softmax() -> None:
    assert find_logits(read_tflite(build_classifier(softmax=False))) == []

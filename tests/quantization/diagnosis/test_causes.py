"""Every cause is found in a network built to have it, and none in a healthy one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from tiny_models import build_classifier
from tiny_networks import RELU6, NetworkSketch, draw_images, draw_weights

from edgevision.graph.flatbuffer import replace_constants
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.diagnosis.causes import RULES, Cause
from edgevision.quantization.diagnosis.diagnosis import Diagnosis, diagnose_networks
from edgevision.quantization.engine import run_engine
from edgevision.quantization.shared_ranges import share_ranges
from edgevision.specs import Scheme

Array = np.ndarray[Any, Any]
Bounds = Mapping[str, tuple[float, float]]


def quantize_plain(
    model: bytes, images: Array, *, scheme: Scheme = Scheme.INT8, bounds: Bounds | None = None
) -> bytes:
    graph = read_tflite(model)
    ranges = share_ranges(graph, collect_ranges(model, graph, images))
    chosen = {i: (bounds or {}).get(graph.tensors[i].name, r.bounds()) for i, r in ranges.items()}
    return run_engine(model, graph, scheme, bounds=chosen)


def diagnose_plain(model: bytes, images: Array | None = None, **options: Any) -> Diagnosis:
    images = draw_images() if images is None else images
    return diagnose_networks((model, quantize_plain(model, images, **options)), images)


def find_causes(diagnosis: Diagnosis) -> set[tuple[str, str]]:
    return {(finding.layer, str(finding.cause)) for finding in diagnosis.findings}


def get_evidence(diagnosis: Diagnosis, cause: Cause) -> str:
    (finding,) = [f for f in diagnosis.findings if f.cause is cause]
    return finding.evidence


def test_a_healthy_network_has_none() -> None:
    diagnosis = diagnose_plain(build_classifier(size=8, softmax=False))
    assert diagnosis.findings == ()
    assert diagnosis.sound
    assert diagnosis.verdict.startswith("healthy: ")
    assert {row.cause for row in RULES} | {
        Cause.WRONG_INPUT_RANGE,
        Cause.ACCUMULATED_NOISE,
    } == set(Cause)


def test_outlier_channel() -> None:
    weights = draw_weights(8, 1, 1, 3)
    weights[5] *= 60
    net = NetworkSketch()
    diagnosis = diagnose_plain(net.finish(net.conv(net.image, weights, name="loud")))
    assert find_causes(diagnosis) == {("loud", "outlier_channel")}
    assert get_evidence(diagnosis, Cause.OUTLIER_CHANNEL).startswith("channel 5 reaches ")


def test_constant_channel() -> None:
    weights, bias = 0.02 * draw_weights(8, 1, 1, 3), np.full(8, 0.02)
    weights[2], bias[2] = 1, 80
    net = NetworkSketch()
    model = net.finish(net.conv(net.image, weights, bias, name="stuck", relu=RELU6))
    diagnosis = diagnose_plain(model)
    assert find_causes(diagnosis) == {("stuck", "constant_channel")}
    assert "channel 2 holds 6 on every image" in get_evidence(diagnosis, Cause.CONSTANT_CHANNEL)


def test_clipped_and_wide_ranges() -> None:
    net = NetworkSketch()
    model = net.finish(net.conv(net.image, draw_weights(8, 1, 1, 3), name="layer"))
    clipped = diagnose_plain(model, bounds={"layer": (-0.5, 0.5)})
    assert find_causes(clipped) == {("layer", "clipped_range")}
    assert "beyond the range -0.5 … " in get_evidence(clipped, Cause.CLIPPED_RANGE)
    wide = diagnose_plain(model, bounds={"layer": (-60, 60)})
    assert find_causes(wide) == {("layer", "wide_range")}
    assert "of 256 codes are used" in get_evidence(wide, Cause.WIDE_RANGE)


def test_an_input_range_that_does_not_fit() -> None:
    net = NetworkSketch()
    model = net.finish(net.conv(net.image, draw_weights(8, 1, 1, 3), name="layer"))
    narrow = diagnose_plain(model, bounds={"image": (0, 1)})
    assert ("input", "wrong_input_range") in find_causes(narrow)
    wide = diagnose_plain(model, bounds={"image": (0, 255)})
    assert ("input", "wrong_input_range") in find_causes(wide)
    assert not wide.sound


def build_branches(join: Callable[[NetworkSketch, int, int], int]) -> bytes:
    net = NetworkSketch()
    large = net.conv(net.image, 20 * draw_weights(4, 1, 1, 3), name="large")
    small = net.conv(net.image, 0.1 * draw_weights(4, 1, 1, 3, seed=1), name="small")
    return net.finish(join(net, large, small))


def test_shared_scale() -> None:
    model = build_branches(lambda net, x, y: net.concat([x, y], name="both"))
    diagnosis = diagnose_plain(model)
    assert ("both", "shared_scale") in find_causes(diagnosis)
    assert get_evidence(diagnosis, Cause.SHARED_SCALE).startswith("part 2 of 2 stays within ")


def test_unequal_terms() -> None:
    model = build_branches(lambda net, x, y: net.join("ADD", x, y, name="sum"))
    diagnosis = diagnose_plain(model)
    assert find_causes(diagnosis) == {("sum", "unequal_terms")}
    assert "codes in the sum" in get_evidence(diagnosis, Cause.UNEQUAL_TERMS)


def test_coarse_logits() -> None:
    net = NetworkSketch()
    weights, bias = 300 * draw_weights(10, 3), np.zeros(10)
    weights[1] = weights[0] * 1.001
    bias[:2] = 200
    logits = net.dense(net.mean(net.image, name="mean"), weights, bias, name="logits")
    diagnosis = diagnose_plain(net.finish(net.map("SOFTMAX", logits, name="scores")))
    assert ("scores", "coarse_logits") in find_causes(diagnosis)
    assert "the two best are equal" in get_evidence(diagnosis, Cause.COARSE_LOGITS)


def test_narrow_gate() -> None:
    net = NetworkSketch(channels=4)
    squeezed = net.average(net.image, name="squeeze")
    gates = net.conv(squeezed, draw_weights(4, 1, 1, 4), -4.5, name="excite")
    gates = net.map("LOGISTIC", gates, name="gates")
    model = net.finish(net.join("MUL", net.image, gates, name="scaled"))
    diagnosis = diagnose_plain(model, draw_images(channels=4) ** 2)
    assert ("scaled", "narrow_gate") in find_causes(diagnosis)
    assert "scale whole channels" in get_evidence(diagnosis, Cause.NARROW_GATE)


def test_pooled_range() -> None:
    net = NetworkSketch()
    layer = net.conv(net.image, 5 * draw_weights(8, 1, 1, 3), name="layer")
    diagnosis = diagnose_plain(net.finish(net.average(layer, name="pooled")))
    assert find_causes(diagnosis) == {("pooled", "pooled_range")}
    assert get_evidence(diagnosis, Cause.POOLED_RANGE).startswith("means stay within ")


def test_dead_weights() -> None:
    weights, bias = draw_weights(8, 1, 1, 3), np.full(8, 1.0)
    weights[3], bias[3] = 40, -900
    net = NetworkSketch()
    model = net.finish(net.conv(net.image, weights, bias, name="layer", relu=RELU6))
    diagnosis = diagnose_plain(model, scheme=Scheme.INT8_PER_TENSOR)
    assert ("layer", "dead_weights") in find_causes(diagnosis)
    assert "the output of channel 3 never changes" in get_evidence(diagnosis, Cause.DEAD_WEIGHTS)
    assert diagnose_plain(model).findings == ()


def test_spread_weights() -> None:
    images = draw_images(channels=4)
    images[..., 0] *= 0.01
    weights = 0.05 * draw_weights(8, 1, 1, 4)
    weights[0] = (3, 0, 0, 0)
    net = NetworkSketch(channels=4)
    model = net.finish(net.conv(net.image, weights, name="layer"))
    diagnosis = diagnose_plain(model, images, scheme=Scheme.INT8_PER_TENSOR)
    assert ("layer", "spread_weights") in find_causes(diagnosis)
    assert "one scale serves 8 channels" in get_evidence(diagnosis, Cause.SPREAD_WEIGHTS)


def test_full_bias() -> None:
    weights, bias = draw_weights(4, 1, 1, 3), np.zeros(4)
    weights[1] *= 1e-9
    bias[1] = 3
    net = NetworkSketch()
    model = net.finish(net.conv(net.image, weights, bias, name="layer"))
    diagnosis = diagnose_plain(model)
    assert ("layer", "full_bias") in find_causes(diagnosis)
    assert "the bias of channel 1 should be 3 and is " in get_evidence(diagnosis, Cause.FULL_BIAS)


def test_mean_shift() -> None:
    net = NetworkSketch()
    model = net.finish(net.conv(net.image, draw_weights(8, 1, 1, 3), name="layer"))
    quantized = quantize_plain(model, draw_images())
    graph = read_tflite(quantized)
    bias = graph.tensors[graph.ops[-1].inputs[2]]
    assert bias.data is not None
    shifted = replace_constants(quantized, {bias.index: bias.data + np.int32(2000)})
    diagnosis = diagnose_networks((model, shifted), draw_images())
    assert ("layer", "mean_shift") in find_causes(diagnosis)
    assert "a constant that rounding adds" in get_evidence(diagnosis, Cause.MEAN_SHIFT)


def test_hard_swish() -> None:
    images = draw_images() ** 2
    images[:, :, 3, 3] *= 40
    images[:, :, 4, 4] *= -2
    net = NetworkSketch()
    layer = net.conv(net.image, -np.abs(draw_weights(8, 1, 1, 3)), name="layer")
    diagnosis = diagnose_plain(net.finish(net.map("HARD_SWISH", layer, name="swish")), images)
    assert ("swish", "hard_swish") in find_causes(diagnosis)
    assert "rounding its output would leave" in get_evidence(diagnosis, Cause.HARD_SWISH)


def test_rounded_weights() -> None:
    images = draw_images(channels=4)
    images[..., 0] *= 1e-3
    weights = 0.05 * draw_weights(8, 1, 1, 4)
    weights[..., 0] = 3
    net = NetworkSketch(channels=4)
    model = net.finish(net.conv(net.image, weights, name="layer"))
    diagnosis = diagnose_plain(model, images)
    assert ("layer", "rounded_weights") in find_causes(diagnosis)
    assert "of the noise comes from rounding" in get_evidence(diagnosis, Cause.ROUNDED_WEIGHTS)


def test_too_few_bits() -> None:
    images = 0.02 * draw_images(size=16)
    images[:, :, 3, 3] *= 50
    net = NetworkSketch(size=16)
    model = net.finish(net.conv(net.image, draw_weights(8, 1, 1, 3), name="layer"))
    diagnosis = diagnose_plain(model, images)
    assert find_causes(diagnosis) == {("layer", "too_few_bits")}
    assert diagnose_plain(model, images, scheme=Scheme.INT16X8).findings == ()


def test_noise_that_adds_up() -> None:
    net = NetworkSketch(channels=8)
    x = net.image
    for index in range(30):
        x = net.conv(x, 1.4 * draw_weights(8, 1, 1, 8, seed=index), name=f"layer_{index}")
    diagnosis = diagnose_plain(net.finish(x), draw_images(channels=8))
    assert find_causes(diagnosis) == {("", "accumulated_noise")}


@pytest.mark.parametrize("row", RULES, ids=lambda row: str(row.cause))
def test_every_cause_says_what_helps(row: Any) -> None:
    assert row.remedy
    assert row.title

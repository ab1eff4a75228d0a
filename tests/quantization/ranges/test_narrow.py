from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_detectors import CONTRACT, build_detector_body
from tiny_models import build_classifier

from edgevision.cli.app import run as run_command
from edgevision.errors import InvalidConfigError
from edgevision.graph.contracts import attach_contract
from edgevision.graph.detection_heads import find_heads
from edgevision.graph.graph import Tensor
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import ChannelRange, collect_ranges
from edgevision.quantization.network import Network
from edgevision.quantization.quantize import quantize
from edgevision.quantization.ranges import narrow
from edgevision.quantization.ranges.narrow import (
    RangeReport,
    apply_bounds,
    list_narrowable,
    narrow_ranges,
)
from edgevision.specs import Quantization, RangeMethod

RULES = [RangeMethod.PERCENTILE, RangeMethod.ENTROPY, RangeMethod.MSE]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Dim images, in which one value in ten thousand glares."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (40, 1, 32, 32, 3)).astype(np.float32)
    values[rng.random(values.shape) < 1e-4] = 9
    return values


@pytest.fixture(scope="module")
def network(images: np.ndarray) -> Network:
    model = build_classifier(num_classes=4, size=32, seed=3)
    graph = read_tflite(model)
    return Network(model=model, graph=graph, ranges=collect_ranges(model, graph, images))


def refuse(candidate: Network, images: np.ndarray) -> bytes:
    pytest.fail("only auto makes integer networks")


def as_array(tensor: Tensor) -> np.ndarray:
    assert tensor.data is not None
    return tensor.data


def list_floats(network: Network) -> list[Tensor]:
    return [t for t in network.graph.constants if t.dtype == "float32"]


def name_tensors(network: Network, tensors: list[int]) -> list[str]:
    return [network.graph.tensors[t].name for t in tensors]


def test_exact_ranges_are_left_alone(network: Network) -> None:
    # Behind ReLU6 are "convolved"; "scores" are logits; "probabilities" come from a softmax.
    assert name_tensors(network, list_narrowable(network)) == ["depthwise", "pooled"]


@pytest.mark.parametrize("method", RULES)
def test_methods_narrow_what_is_open(
    method: RangeMethod, network: Network, images: np.ndarray
) -> None:
    narrowed, report = narrow_ranges(network, images, method, trial=refuse, threads=2)
    assert report.method is method
    changed = [
        t for t in network.ranges if narrowed.ranges[t].bounds() != network.ranges[t].bounds()
    ]
    assert len(changed) == report.narrowed > 0
    assert set(changed) <= set(list_narrowable(network))
    for tensor in changed:
        (low, high), (least, most) = (n.ranges[tensor].bounds() for n in (narrowed, network))
        assert least <= low <= high <= most
    assert narrowed.model == network.model


def test_minmax_changes_nothing(network: Network, images: np.ndarray) -> None:
    same, report = narrow_ranges(network, images, RangeMethod.MINMAX, trial=refuse)
    assert same is network
    assert report == RangeReport()


@pytest.mark.parametrize("helps", [True, False])
def test_auto_takes_what_helps_the_answers(
    helps: bool, network: Network, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that narrows everything, and held-out images in which nothing glares."""
    monkeypatch.setattr(narrow, "RULES", {RangeMethod.MSE: lambda h, _: (h.low / 2, h.high / 2)})
    dim = images.copy()
    dim[1::2] = np.clip(dim[1::2], -0.2, 0.2)
    worse = network.with_constants(
        {t.index: as_array(t) * np.float32(1.1) for t in list_floats(network)}
    )
    tried = []

    def pretend(candidate: Network, some: np.ndarray) -> bytes:
        tried.append(len(some))
        narrowed = candidate.ranges != network.ranges
        return network.model if narrowed is helps else worse.model

    chosen, report = narrow_ranges(network, dim, RangeMethod.AUTO, trial=pretend)
    assert tried == [20, 20]
    assert report.method is RangeMethod.AUTO
    assert (report.narrowed > 0) is helps
    assert (chosen.ranges != network.ranges) is helps


def test_auto_does_not_try_what_gains_nothing(network: Network, images: np.ndarray) -> None:
    for some in (images, images[:8]):
        same, report = narrow_ranges(network, some, RangeMethod.AUTO, trial=refuse)
        assert report.narrowed == 0
        assert same.ranges == network.ranges


def test_channels_are_clipped_to_the_ends(network: Network) -> None:
    (tensor, _) = list_narrowable(network)
    clipped = apply_bounds(network, {tensor: (-0.1, 0.2)}).ranges
    assert clipped[tensor].bounds() == pytest.approx((-0.1, 0.2))
    assert clipped[tensor].low.shape == network.ranges[tensor].low.shape
    assert all(clipped[t] is network.ranges[t] for t in network.ranges if t != tensor)


def test_what_passes_values_on_follows_its_source() -> None:
    model = build_detector_body()
    graph = read_tflite(model)
    every = {
        t.index: ChannelRange(low=np.float32([-4]), high=np.float32([4]))
        for t in graph.tensors
        if t.data is None
    }
    named = {t.name: t.index for t in graph.tensors}
    wanted = {named["boxes_0"]: (-1.0, 2.0), named["boxes_1"]: (-2.0, 1.0)}
    ranges = apply_bounds(Network(model=model, graph=graph, ranges=every), wanted).ranges
    boxes, scores = find_heads(graph)
    assert ranges[named["flat_boxes_0"]].bounds() == (-1, 2)
    assert ranges[named["flat_boxes_1"]].bounds() == (-2, 1)
    assert ranges[boxes].bounds() == (-2, 2)
    assert ranges[scores] is every[scores]


@pytest.mark.parametrize("method", list(RangeMethod))
def test_every_method_makes_a_file(
    method: RangeMethod, float_file: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "o.tflite"
    result = quantize(float_file, output, calibration=photos, ranges=method)
    document = result.to_dict()
    assert document["ranges"]["method"] == method
    assert document["sqnr_db"] > 10
    graph = read_tflite(output)
    assert all(t.dtype != "float32" for t in graph.tensors)


@pytest.mark.parametrize("method", [RangeMethod.MSE, RangeMethod.PERCENTILE])
def test_a_detector_keeps_its_scales(method: RangeMethod, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "float.tflite"
    source.write_bytes(attach_contract(build_detector_body(seed=2), CONTRACT))

    result = quantize(source, tmp_path / "o.tflite", calibration=photos, ranges=method)

    graph = read_tflite(result.output)
    _, scores = find_heads(graph)
    assert graph.tensors[scores].quantization == Quantization(
        scales=(1 / 256,), zero_points=(-128,)
    )
    assert "QUANTIZE" not in [op.name for op in graph.ops]


def test_the_command_names_the_method(
    float_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "o.tflite"
    command = ["quantize", str(float_file), "-o", str(output), "--calibration", str(photos)]

    code = run_command([*command, "--ranges", "mse", "--steps", "none", "--no-cache", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["ranges"]["method"] == "mse"
    assert document["calibration"]["cached"] is False


def test_other_methods_are_for_8_bits(float_file: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.tflite"
    for scheme in ("int16x8", "dynamic", "float16"):
        with pytest.raises(InvalidConfigError, match="8-bit activations only"):
            quantize(float_file, output, calibration=photos, scheme=scheme, ranges="mse")
        quantize(float_file, output, calibration=photos, scheme=scheme, ranges="minmax")
    with pytest.raises(InvalidConfigError, match="median"):
        quantize(float_file, output, calibration=photos, ranges="median")

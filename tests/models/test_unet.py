from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.graph.macs import count_macs
from edgevision.graph.params import count_params
from edgevision.models.registry import (
    SPECS,
    build_graph,
    create_model,
    create_pretrained,
    default_contract,
    head_layers,
)
from edgevision.specs import ScoreKind, Task

sys.path.append(str(Path(__file__).parent))
from networks import draw_images, randomize

NAMES = tuple(name for name, spec in SPECS.items() if spec.family == "unet")
MOBILE = tuple(name for name in NAMES if "mobilenet" in name)
SIZES = ((32, 32), (33, 47), (64, 48), (100, 76))


def test_the_family() -> None:
    assert NAMES == (
        "unet_mobilenet_v1",
        "unet_mobilenet_v2",
        "unet_mobilenet_v3_small",
        "unet_mobilenet_v3_large",
        "unet_separable",
        "unet",
    )
    assert {SPECS[name].task for name in NAMES} == {Task.SEGMENT}
    for name in MOBILE:
        assert SPECS[name].published is SPECS[name.removeprefix("unet_")].published
    contract = default_contract("unet", labels=("background", "cell"))
    assert contract.scores is ScoreKind.LOGITS


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_the_papers_network_has_31_million_parameters(upsampling: str) -> None:
    """Figure 1, with ``same`` padding, for 1 channel and 2 classes.

    Of each normalization the deployed file keeps a bias, which the paper's layers have as well.
    """
    filters = (64, 128, 256, 512, 1024)
    down = zip((1, *filters), filters, strict=False)
    layers = [pair for a, b in down for pair in ((a, b), (b, b))]
    layers += [pair for b in filters[:-1] for pair in ((2 * b, b), (b, b))]
    kernels = sum(9 * a * b for a, b in layers)
    norms = sum(b for _, b in layers)
    up = sum(4 * 2 * b * b + b for b in filters[:-1])

    graph = build_graph("unet", channels=1, num_classes=2, upsampling=upsampling)
    params = count_params(graph)
    assert params.total == kernels + 4 * norms + up + 64 * 2 + 2
    # What is known as the network's size: 31,030,593 for one class.
    assert kernels + norms + up + 64 + 1 == 31_030_593


def test_macs_of_the_papers_network() -> None:
    side, filters = 512, (64, 128, 256, 512, 1024)
    sides = [side >> level for level in range(5)]
    inputs = (3, *filters[:-1])
    down = sum(s * s * 9 * (a * b + b * b) for s, a, b in zip(sides, inputs, filters, strict=True))
    join = sum(s * s * 9 * (2 * b * b + b * b) for s, b in zip(sides, filters[:-1], strict=False))
    # A transposed convolution places its kernel at each position of its input.
    up = sum((s // 2) ** 2 * 4 * 2 * b * b for s, b in zip(sides, filters[:-1], strict=False))
    macs = down + join + up + side * side * 64 * 21
    assert count_macs(build_graph("unet")).total == macs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_comes_back_whole(name: str, upsampling: str, size: tuple[int, int]) -> None:
    graph = build_graph(name, alpha=0.25, input_size=size, num_classes=3, upsampling=upsampling)
    assert graph.output_specs()[0].shape == (1, *size, 3)


@pytest.mark.parametrize("name", NAMES)
def test_alpha_scales_the_decoder_too(name: str) -> None:
    def widths(alpha: float) -> list[int]:
        graph = build_graph(name, alpha=alpha, input_size=64)
        shapes = {op.label: graph.tensors[op.outputs[0]].shape for op in graph.ops}
        last = "_pointwise" if name != "unet" else ""
        return [shapes[f"head_stride_{s}_conv_1{last}"][-1] for s in (8, 4, 2, 1)]

    full = widths(1.0)
    assert full == ([512, 256, 128, 64] if name not in MOBILE else [128, 64, 32, 16])
    # Every class has to pass through the narrowest map: no alpha goes below 16 channels.
    assert widths(0.5) == [max(w // 2, 16) for w in full]
    assert widths(0.1)[-1] == 16


@pytest.mark.parametrize("name", MOBILE)
def test_the_encoder_has_the_names_and_shapes_of_the_classifier(name: str) -> None:
    choices: dict[str, Any] = {"alpha": 0.5, "input_size": (64, 96)}
    classifier = build_graph(name.removeprefix("unet_"), **choices)
    unet = build_graph(name, **choices)
    weights = [{t.name: t.shape for t in graph.constants} for graph in (classifier, unet)]
    theirs, ours = ({n: s for n, s in w.items() if not n.startswith("head_")} for w in weights)
    assert ours == theirs


@pytest.mark.parametrize("name", MOBILE)
def test_output_stride_16_leaves_out_a_stage(name: str) -> None:
    graph = build_graph(name, input_size=64, num_classes=2, output_stride=16)
    assert graph.output_specs()[0].shape == (1, 64, 64, 2)
    labels = {op.label for op in graph.ops}
    assert "head_stride_8_join" in labels
    assert "head_stride_16_join" not in labels


def test_dropout_ends_the_contracting_path() -> None:
    pytest.importorskip("keras")
    choices: dict[str, Any] = {"alpha": 0.1, "input_size": 32, "num_classes": 2}
    assert "head_dropout" not in head_layers(create_model("unet_mobilenet_v1", **choices))
    model = create_model("unet", **choices)
    assert head_layers(model)[0] == "head_dropout"
    assert model.get_layer("head_dropout").rate == 0.5


@pytest.mark.parametrize(
    ("name", "upsampling"), [*((name, "transposed") for name in NAMES), ("unet", "bilinear")]
)
def test_both_readings_agree_at_odd_sizes(name: str, upsampling: str) -> None:
    pytest.importorskip("keras")
    choices: dict[str, Any] = {
        "alpha": 0.25,
        "input_size": (45, 38),
        "num_classes": 3,
        "upsampling": upsampling,
    }
    model, graph = create_model(name, **choices), build_graph(name, **choices)
    macs = 0
    for layer in (layer for layer in model.layers if hasattr(layer, "kernel")):
        transposed = type(layer).__name__ == "Conv2DTranspose"
        places = layer.input if transposed else layer.output
        macs += prod(places.shape[1:-1]) * prod(layer.kernel.shape)
    assert count_macs(graph).total == macs
    assert count_params(graph).total == model.count_params()
    assert model.output_shape == (None, 45, 38, 3)
    used = {type(layer).__name__ for layer in model.layers}
    assert ("Conv2DTranspose" in used) == (upsampling == "transposed")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_can_be_asked_for(activation: str) -> None:
    keras = pytest.importorskip("keras")
    model = create_model(
        "unet_mobilenet_v1",
        alpha=0.1,
        input_size=32,
        num_classes=3,
        classifier_activation=activation,
    )
    randomize(model)
    images = draw_images((2, 32, 32, 3))
    logits = keras.Model(model.input, model.get_layer("head_logits").output)(images)
    expected = getattr(keras.ops, activation)(logits)
    np.testing.assert_allclose(model(images), expected, atol=1e-6)


@pytest.mark.parametrize("name", MOBILE)
def test_a_trained_classifier_fills_the_encoder(name: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    choices: dict[str, Any] = {"alpha": 0.25, "input_size": (32, 64)}
    classifier = create_model(name.removeprefix("unet_"), num_classes=4, **choices)
    randomize(classifier)
    classifier.save(tmp_path / "classifier.keras")
    model, report = create_pretrained(
        name, num_classes=2, weights=tmp_path / "classifier.keras", **choices
    )
    assert all(layer.startswith("head_") for layer in report.skipped)
    assert not any(layer.startswith("head_") for layer in report.loaded)
    images = draw_images((1, 32, 64, 3))
    last = [layer.name for layer in classifier.layers if layer.name.startswith("block_")][-1]
    maps = [keras.Model(m.input, m.get_layer(last).output)(images) for m in (model, classifier)]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_imagenet_weights_of_keras_2_fill_the_encoder(real_data: Path) -> None:
    path = real_data / "models/mobilenet_v1_0.25_224_imagenet.h5"
    _, report = create_pretrained("unet_mobilenet_v1", alpha=0.25, num_classes=2, weights=path)
    assert len(report.loaded) == 27 * 2
    assert len(report.unused) == 1

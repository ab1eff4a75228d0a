from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.contract import Preprocessing
from edgevision.data.batches import iterate_pixels
from edgevision.data.images import list_images
from edgevision.data.preprocess import Preprocessor
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.network import Network
from edgevision.quantization.normalization import find_wrong_scale
from edgevision.quantization.source import open_source

CENTRED = Preprocessing(mean=(127.5,), std=(127.5,))
RAW = Preprocessing(mean=(0,), std=(1,))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Images of random brightness, 0 to 255."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 160, (24, 1, 1, 1, 3))
    return (base + rng.uniform(0, 95, (24, 1, 12, 12, 3))).astype(np.float32)


def create_network(*, scale: float = 1.0, bias: float = 1.0) -> Network:
    """Create a network for inputs ``scale`` times as large as those in [-1, 1]."""
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    network = Network(model=model, graph=graph)
    kernel, biases = (graph.tensors[t] for t in graph.ops[0].inputs[1:])
    assert kernel.data is not None
    assert biases.data is not None
    return network.with_constants(
        {kernel.index: kernel.data / np.float32(scale), biases.index: biases.data * bias}
    )


def normalize(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    return (pixels - np.float32(preprocessing.mean[0])) / np.float32(preprocessing.std[0])


@pytest.mark.parametrize(("scale", "right"), [(1.0, CENTRED), (127.5, RAW)])
def test_right_scale(scale: float, right: Preprocessing, pixels: np.ndarray) -> None:
    network = create_network(scale=scale)
    assert find_wrong_scale(network, normalize(pixels, right), right) is None


def test_inputs_a_hundred_times_too_large(pixels: np.ndarray) -> None:
    text = find_wrong_scale(create_network(), normalize(pixels, RAW), RAW)
    assert text is not None
    assert "much too large" in text
    assert "--mean 0 --std 1;" in text


def test_inputs_a_hundred_times_too_small(pixels: np.ndarray) -> None:
    network = create_network(scale=127.5)
    text = find_wrong_scale(network, normalize(pixels, CENTRED), CENTRED)
    assert text is not None
    assert "much too small" in text


def test_a_network_that_normalizes_itself(pixels: np.ndarray) -> None:
    editor = ModelEditor(create_network().model)
    graph = read_tflite(editor.to_bytes())
    raw = editor.add_tensor("raw", shape=graph.tensors[graph.inputs[0]].shape)
    scale = editor.add_tensor("scale", data=np.float32([1 / 127.5]))
    editor.add_op("MUL", [raw, scale], [graph.inputs[0]], options=("MulOptions", {}), position=0)
    editor.set_inputs([raw])
    model = editor.to_bytes()
    network = Network(model=model, graph=read_tflite(model))
    assert find_wrong_scale(network, normalize(pixels, RAW), RAW) is None
    thousandfold = Preprocessing(mean=(0,), std=(1 / 255,))
    text = find_wrong_scale(network, normalize(pixels, thousandfold), thousandfold)
    assert text is not None
    assert "much too large" in text


def test_nothing_is_said_of_a_layer_without_biases(pixels: np.ndarray) -> None:
    network = create_network(bias=0.0)
    assert find_wrong_scale(network, normalize(pixels, RAW), RAW) is None


def test_nothing_is_said_of_images_without_contrast() -> None:
    black = np.zeros((3, 1, 12, 12, 3), np.float32)
    assert find_wrong_scale(create_network(), black, CENTRED) is None


@pytest.mark.parametrize(
    ("model", "right", "wrong"),
    [
        ("mobilenet_v1_0.25_224_1_metadata_1.tflite", (127.5, 127.5), (0, 1)),
        ("vww_96_float.tflite", (0, 255), (0, 1)),
        ("deeplabv3.tflite", (127.5, 127.5), (0, 1)),
    ],
)
def test_real_networks(
    model: str, right: tuple[float, float], wrong: tuple[float, float], real_data: Path
) -> None:
    said = []
    for mean, std in (right, wrong):
        source = open_source(real_data / "models" / model, {"mean": (mean,), "std": (std,)})
        preprocessor = Preprocessor(source.contract.preprocessing, source.graph.input_specs()[0])
        files = list_images(real_data / "imagenet/calibration")[::6]
        images = np.stack(
            [
                preprocessor.normalize(image).copy()
                for _, image in iterate_pixels(files, preprocessor)
            ]
        )
        network = Network(model=source.data, graph=source.graph)
        said.append(find_wrong_scale(network, images, source.contract.preprocessing))
    assert said[0] is None
    assert said[1] is not None
    assert "too large" in said[1]

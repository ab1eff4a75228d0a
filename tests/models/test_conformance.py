"""What every network of the zoo must do. A new row of the registry is tested by being there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.graph.reader import read_graph
from edgevision.models.registry import SPECS, build_graph, create_model, default_contract
from edgevision.runtime.sessions import open_session

sys.path.append(str(Path(__file__).parent))
from networks import randomize

pytest.importorskip("tensorflow")

SIZE = (64, 48)
CHOICES: dict[str, Any] = {"alpha": 0.25, "input_size": SIZE, "num_classes": 5}

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@dataclass(frozen=True)
class Built:
    name: str
    model: Any
    keras_file: Path
    tflite_file: Path


@pytest.fixture(scope="module", params=list(SPECS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Each network once, with weights that matter, saved."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    model = create_model(name, **CHOICES)
    randomize(model)
    model.save(folder / "m.keras")
    return Built(name, model, folder / "m.keras", folder / "m.tflite")


@pytest.fixture(scope="module")
def tflite(built: Built) -> Any:
    """Its conversion to TFLite; the file is kept beside it."""
    from edgevision.converters.convert import convert

    return convert(built.keras_file, built.tflite_file)


def count_keras_macs(model: Any) -> Iterator[int]:
    """Yield multiply-accumulates per layer, from the layers' own weights and output shapes."""
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            positions = prod(layer.output.shape[1:-1])
            yield positions * prod(layer.kernel.shape)


def test_both_readings_count_the_same(built: Built) -> None:
    graph = build_graph(built.name, **CHOICES)
    trainable = sum(prod(w.shape) for w in built.model.trainable_weights)
    params = count_params(graph)
    assert count_macs(graph).total == sum(count_keras_macs(built.model))
    assert (params.total, params.trainable) == (built.model.count_params(), trainable)


def test_both_readings_have_the_same_layers(built: Built) -> None:
    graph = build_graph(built.name, **CHOICES)
    shapes = {op.label: graph.tensors[op.outputs[0]].shape[1:] for op in graph.ops}
    layers = {
        layer.name: tuple(layer.output.shape[1:])
        for layer in built.model.layers
        if type(layer).__name__ not in ("InputLayer", "Dropout")
    }
    assert shapes == layers
    weights = {t.name for t in graph.constants}
    assert weights == {"/".join(w.path.split("/")[-2:]) for w in built.model.weights}


def test_the_input_is_open_in_batch_and_fixed_in_size(built: Built) -> None:
    assert built.model.input_shape == (None, *SIZE, 3)
    assert built.model.output_shape == (None, 5)
    scores = np.asarray(built.model(np.zeros((2, *SIZE, 3), np.float32)))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_it_converts_to_tflite_with_parity(built: Built, tflite: Any) -> None:
    assert tflite.parity.passed
    graph = read_graph(built.tflite_file)
    # What a dynamic batch would leave behind is refused by GPU and Edge TPU.
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & {op.name for op in graph.ops}
    swishes = [op for op in build_graph(built.name, **CHOICES).ops if _swish(op)]
    assert [op.name for op in graph.ops].count("HARD_SWISH") == len(swishes)
    ours = sum(1 for op in build_graph(built.name, **CHOICES).ops if op.kind in _CONVOLUTIONS)
    assert sum(1 for op in graph.ops if op.kind in _CONVOLUTIONS) == ours


_CONVOLUTIONS = (OpKind.CONV_2D, OpKind.DEPTHWISE_CONV_2D, OpKind.FULLY_CONNECTED)


def _swish(op: Any) -> bool:
    return op.kind is OpKind.ACTIVATION and op.attributes["activation"] == "hard_swish"


def test_it_converts_to_onnx_with_parity(built: Built, tmp_path: Path) -> None:
    from edgevision.converters.convert import convert

    pytest.importorskip("onnx")
    result = convert(built.keras_file, tmp_path / "m.onnx")
    assert result.parity.passed


def test_its_contract_fits_it(built: Built) -> None:
    contract = default_contract(built.name, labels=("a", "b", "c", "d", "e"))
    assert contract.task is SPECS[built.name].task
    assert contract.name == built.name


@pytest.mark.usefixtures("tflite")
def test_it_quantizes(built: Built, tmp_path: Path) -> None:
    from edgevision.quantization.quantize import quantize

    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    result = quantize(built.tflite_file, tmp_path / "q.tflite", calibration=photos)
    session = open_session(result.output)
    assert session.inputs[0].dtype == session.outputs[0].dtype == "int8"
    assert session.outputs[0].shape == (1, 5)
    session.close()

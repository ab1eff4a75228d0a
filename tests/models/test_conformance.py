"""What every network of the zoo must do. A new row of the registry is tested by being there."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevision.benchmarks.deployed import estimate_int8
from edgevision.benchmarks.memory import measure_memory
from edgevision.contract import Contract
from edgevision.graph.contracts import read_contract, write_contract
from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.graph.reader import read_graph
from edgevision.models.registry import SPECS, build_graph, create_model, default_contract
from edgevision.runtime.sessions import open_session
from edgevision.specs import Task

sys.path.append(str(Path(__file__).parent))
from networks import randomize

pytest.importorskip("tensorflow")

SIZE = (64, 48)
CLASSES = 5
CHOICES: dict[str, Any] = {"alpha": 0.25, "input_size": SIZE, "num_classes": CLASSES}

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@dataclass(frozen=True)
class Built:
    """A network of the zoo, saved.

    Attributes:
        name: Its name.
        model: In Keras, with weights that matter.
        contract: Of this size, with a label per class.
        keras_file: The model with its contract inside.
        tflite_file: Where its conversion goes.
    """

    name: str
    model: Any
    contract: Contract
    keras_file: Path
    tflite_file: Path

    @property
    def task(self) -> Task:
        """What it answers."""
        return SPECS[self.name].task

    @property
    def ending(self) -> dict[str, Any]:
        """How it is converted here: detectors with the outputs that the network itself has."""
        return {"heads": "raw"} if self.task is Task.DETECT else {}

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """What the task promises, without the batch; the name is empty where there is one."""
        if self.contract.detection is not None:
            anchors = self.contract.detection.num_anchors
            return {"box_encodings": (anchors, 4), "class_scores": (anchors, CLASSES + 1)}
        return {"": (CLASSES,) if self.task is Task.CLASSIFY else (*SIZE, CLASSES)}


@pytest.fixture(scope="module", params=list(SPECS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Each network once, with weights that matter, saved."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    model = create_model(name, **CHOICES)
    randomize(model)
    contract = default_contract(name, labels=tuple("abcde"), input_size=SIZE)
    model.save(folder / "m.keras")
    write_contract(folder / "m.keras", contract)
    return Built(name, model, contract, folder / "m.keras", folder / "m.tflite")


@pytest.fixture(scope="module")
def tflite(built: Built) -> Any:
    """Its conversion to TFLite; the file is kept beside it."""
    from edgevision.converters.convert import convert

    return convert(built.keras_file, built.tflite_file, **built.ending)


def list_calls(layer: Any) -> list[tuple[Any, Any]]:
    """Return input and output of every call: shared predictors see one map after another."""
    return [(node.input_tensors[0], node.output_tensors[0]) for node in layer._inbound_nodes]


def count_keras_macs(model: Any) -> Iterator[int]:
    """Yield multiply-accumulates per call, from the layers' own weights and shapes.

    Each kernel value meets every output position, in a transposed convolution every input's.
    """
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            transposed = type(layer).__name__ == "Conv2DTranspose"
            for call in list_calls(layer):
                yield prod(call[0 if transposed else 1].shape[1:-1]) * prod(layer.kernel.shape)


def test_both_readings_count_the_same(built: Built) -> None:
    graph = build_graph(built.name, **CHOICES)
    trainable = sum(prod(w.shape) for w in built.model.trainable_weights)
    params = count_params(graph)
    assert count_macs(graph).total == sum(count_keras_macs(built.model))
    assert (params.total, params.trainable) == (built.model.count_params(), trainable)


def test_both_readings_have_the_same_layers(built: Built) -> None:
    graph = build_graph(built.name, **CHOICES)
    shapes = Counter((op.label, graph.tensors[op.outputs[0]].shape[1:]) for op in graph.ops)
    layers = Counter(
        (layer.name, tuple(output.shape[1:]))
        for layer in built.model.layers
        if type(layer).__name__ not in ("InputLayer", "Dropout")
        for _, output in list_calls(layer)
    )
    assert shapes == layers
    weights = {t.name for t in graph.constants}
    assert weights == {"/".join(w.path.split("/")[-2:]) for w in built.model.weights}


def test_the_input_is_open_in_batch_and_fixed_in_size(built: Built) -> None:
    assert built.model.input_shape == (None, *SIZE, 3)
    outputs = built.model(np.zeros((2, *SIZE, 3), np.float32))
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    assert {name: y.shape[1:] for name, y in named.items()} == built.output_shapes
    if built.task is Task.CLASSIFY:
        np.testing.assert_allclose(np.sum(outputs, axis=1), 1, atol=1e-5)
    if built.task is Task.DETECT:
        scores = np.asarray(outputs["class_scores"])
        assert 0 <= scores.min() < scores.max() <= 1


def test_it_converts_to_tflite_with_parity(built: Built, tflite: Any) -> None:
    assert tflite.parity.passed
    graph = read_graph(built.tflite_file)
    # What a dynamic batch would leave behind is refused by GPU and Edge TPU.
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & {op.name for op in graph.ops}
    signature = graph.signatures.get("serving_default")
    if built.task is Task.DETECT:
        assert signature is not None
        assert set(signature[1]) == {"box_encodings", "class_scores"}
    swishes = [op for op in build_graph(built.name, **CHOICES).ops if _swish(op)]
    assert [op.name for op in graph.ops].count("HARD_SWISH") == len(swishes)
    ours = sum(1 for op in build_graph(built.name, **CHOICES).ops if op.kind in _CONVOLUTIONS)
    assert sum(1 for op in graph.ops if op.kind in _CONVOLUTIONS) == ours


_CONVOLUTIONS = (
    OpKind.CONV_2D,
    OpKind.DEPTHWISE_CONV_2D,
    OpKind.TRANSPOSE_CONV_2D,
    OpKind.FULLY_CONNECTED,
)


def _swish(op: Any) -> bool:
    return op.kind is OpKind.ACTIVATION and op.attributes["activation"] == "hard_swish"


# The way from Keras to ONNX leads through the same .tflite, so one network per task goes it whole.
WHOLE_WAY = ("mobilenet_v1", "ssd_mobilenet_v1", "unet_mobilenet_v1")


@pytest.mark.usefixtures("tflite")
def test_it_converts_to_onnx_with_parity(built: Built, tmp_path: Path) -> None:
    from edgevision.converters.convert import convert

    pytest.importorskip("onnx")
    source = built.keras_file if built.name in WHOLE_WAY else built.tflite_file
    result = convert(source, tmp_path / "m.onnx", **built.ending)
    assert result.parity.passed


def test_its_contract_fits_it(built: Built) -> None:
    assert built.contract.task is built.task
    assert built.contract.name == built.name
    assert read_contract(built.keras_file) == built.contract
    assert (built.contract.detection is not None) == (built.task is Task.DETECT)


@pytest.mark.usefixtures("tflite")
def test_it_quantizes(built: Built, tmp_path: Path) -> None:
    from edgevision.quantization.quantize import quantize

    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    # Random weights give boxes and masks by chance: how many stay says nothing.
    output = tmp_path / "q.tflite"
    result = quantize(built.tflite_file, output, calibration=photos, min_agreement=0)
    session = open_session(result.output)
    assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"int8"}
    shapes = sorted(spec.shape for spec in session.outputs)
    assert shapes == sorted((1, *shape) for shape in built.output_shapes.values())
    session.close()
    # What `plan` says of it without building it.
    planned = estimate_int8(build_graph(built.name, **CHOICES))
    written = read_graph(output)
    assert planned.file_bytes == pytest.approx(written.file_bytes, rel=0.03)
    assert planned.ram_bytes == measure_memory(written)[0]

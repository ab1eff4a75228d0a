from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgevision.converters.convert import convert
from edgevision.converters.tflite_to_onnx import OPSET
from edgevision.graph.reader import read_graph

onnx = pytest.importorskip("onnx")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_dense_bias_survives_a_pool_without_flatten(keras: Any, save: Any, tmp_path: Path) -> None:
    # tf2onnx drops the bias of a FULLY_CONNECTED that reads four dimensions.
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.AveragePooling2D(8)(layers.Conv2D(4, 3, padding="same")(image)))
    dense = layers.Dense(3, bias_initializer=keras.initializers.Constant(5.0))
    source = save(keras.Model(image, dense(x)))

    result = convert(source, tmp_path / "m.onnx")

    names = [op.name for op in read_graph(result.output).ops]
    assert "Gemm" in names or "Add" in names
    assert result.parity.max_relative_error < 1e-5


def test_names_and_opset_are_stable(models: Path, tmp_path: Path) -> None:
    convert(models / "tiny.tflite", tmp_path / "m.onnx")

    proto = onnx.load(str(tmp_path / "m.onnx"))

    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    assert proto.producer_name == "edgevision"
    nodes = list(proto.graph.node)
    assert [node.name for node in nodes] == [
        f"{node.op_type.lower()}_{index}" for index, node in enumerate(nodes)
    ]
    conv = next(node for node in nodes if node.op_type == "Conv")
    assert list(conv.input[1:]) == [f"{conv.name}.weight", f"{conv.name}.bias"]


def test_real_files_with_metadata(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"

    result = convert(source, tmp_path / "m.onnx", parity_data=real_data / "images")

    assert result.parity.max_relative_error < 1e-4
    assert len(result.contract.labels) == 1001
    assert "preprocessing.mean" not in result.contract.assumed

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_onnx

from edgevision.errors import UnsupportedOpError
from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.source import find_ends, find_tail, open_onnx
from edgevision.quantization.qdq.view import view_onnx
from edgevision.quantization.quantize import quantize


def test_the_tail_is_what_no_layer_needs() -> None:
    graph = view_onnx(normalize_onnx(tiny_onnx.build_detector(), shown="tiny")).graph
    tail = find_tail(graph)
    assert {op.name for op in tail} == {"Transpose", "Reshape", "Sigmoid", "Concat"}
    names = {graph.tensors[t].name for t in find_ends(graph, tail)}
    assert names == {"boxes_0", "scores_0", "boxes_1", "scores_1"}
    assert find_ends(graph, ()) == list(graph.outputs)


def test_what_can_not_be_quantized_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    plain = tiny_onnx.make_model(
        [node("Relu", ["image"], ["scores"])],
        inputs=[("image", (1, 3, 8, 8))],
        outputs=["scores"],
        constants={},
    )
    with pytest.raises(UnsupportedOpError, match="nothing to quantize"):
        open_onnx(tiny_onnx.save(plain, tmp_path / "plain.onnx"), {"task": "segment"})
    two = tiny_onnx.make_model(
        [node("Conv", ["image", "w"], ["c"]), node("Add", ["c", "more"], ["scores"])],
        inputs=[("image", (1, 3, 8, 8)), ("more", (1, 4, 6, 6))],
        outputs=["scores"],
        constants={"w": tiny_onnx.weights(4, 3, 3, 3)},
    )
    with pytest.raises(UnsupportedOpError, match="2 inputs"):
        open_onnx(tiny_onnx.save(two, tmp_path / "two.onnx"), {"task": "segment"})
    loose = tiny_onnx.build_classifier()
    loose.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(UnsupportedOpError, match="of fixed size"):
        open_onnx(tiny_onnx.save(loose, tmp_path / "loose.onnx"), {})


def test_weights_may_lie_beside_the_file(photos: Path, tmp_path: Path) -> None:
    whole = tiny_onnx.save(tiny_onnx.build_classifier(), tmp_path / "whole.onnx")
    beside = tiny_onnx.save(
        tiny_onnx.build_classifier(),
        tmp_path / "beside.onnx",
        save_as_external_data=True,
        size_threshold=0,
    )
    models = [
        onnx.load(str(quantize(file, tmp_path / f"q_{file.name}", calibration=photos).output))
        for file in (whole, beside)
    ]
    first, second = (
        {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer} for model in models
    )
    assert set(first) == set(second)
    assert all(np.array_equal(first[name], second[name]) for name in first)

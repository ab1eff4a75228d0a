from __future__ import annotations

import numpy as np
import pytest

from edgevision.errors import InvalidConfigError, InvalidModelError

pytest.importorskip("onnxruntime")

from edgevision.runtime.onnxruntime import OnnxRuntimeSession


def test_dynamic_batch_is_one(onnx_model):
    session = OnnxRuntimeSession(onnx_model)
    assert session.inputs[0].shape == (1, 3, 4, 4)
    assert session.outputs[0].shape == (1, 3)
    assert session.inputs[0].dtype == "float32"


def test_run_computes(onnx_model):
    image = np.full((1, 3, 4, 4), 0.5, np.float32)
    result = OnnxRuntimeSession(onnx_model).run({"image": image})
    np.testing.assert_allclose(result["logits"], [[0.5 * 1, 0.5 * 2, 0.5 * 3]])


def test_invoke_before_and_after_run(onnx_model):
    session = OnnxRuntimeSession(onnx_model)
    session.invoke()
    image = np.ones((1, 3, 4, 4), np.float32)
    before = session.run({"image": image})
    session.invoke()
    np.testing.assert_array_equal(session.run({"image": image})["logits"], before["logits"])


def test_wrong_shape_is_named(onnx_model):
    with pytest.raises(InvalidConfigError, match=r"\(2, 3, 4, 4\)"):
        OnnxRuntimeSession(onnx_model).run({"image": np.ones((2, 3, 4, 4), np.float32)})


def test_noise_is_refused(tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(InvalidModelError, match=r"noise\.onnx"):
        OnnxRuntimeSession(path)


def test_placement_counts_nodes(onnx_model):
    placement = OnnxRuntimeSession(onnx_model).placement()
    assert (placement.total_ops, placement.delegated_ops, placement.partitions) == (3, 0, 0)
    assert placement.note

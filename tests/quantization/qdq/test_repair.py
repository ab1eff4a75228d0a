from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as runtime
import pytest
import tiny_onnx

from edgevision.quantization.layers import find_layers
from edgevision.quantization.qdq import repair
from edgevision.quantization.qdq.calibrate import calibrate_onnx
from edgevision.quantization.qdq.engine import normalize_onnx, run_onnx_engine
from edgevision.quantization.qdq.layers import QdqModel, find_site
from edgevision.quantization.qdq.network import OnnxNetwork, open_network
from edgevision.quantization.qdq.repair import repair_onnx
from edgevision.quantization.qdq.runs import run_onnx
from edgevision.specs import Scheme

Array = np.ndarray[Any, Any]


def draw() -> Array:
    return np.random.default_rng(0).uniform(-1, 1, (20, 1, 3, 8, 8)).astype(np.float32)


def make(
    scheme: Scheme = Scheme.INT8, *, lifted: tuple[str, ...] = ()
) -> tuple[OnnxNetwork, Any, Array]:
    network = open_network(normalize_onnx(tiny_onnx.build_classifier(), shown="tiny"))
    images = draw()
    ranges = calibrate_onnx(network, list(images)).ranges
    bounds = {network.graph.tensors[t].name: seen.bounds() for t, seen in ranges.items()}
    bounds["image"] = (-1.0, 1.0)
    quantized = run_onnx_engine(network.model, scheme, bounds, lifted=lifted)
    return network, quantized, images


@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.INT8_PER_TENSOR])
def test_a_repair_is_kept_where_it_helps_and_reported(scheme: Scheme) -> None:
    network, quantized, images = make(scheme)
    before = quantized.SerializeToString()

    repaired = repair_onnx(network, quantized, images, outputs=["scores"])

    assert quantized.SerializeToString() == before
    plain = run_onnx(quantized, images, ["scores"])[0]
    expected = run_onnx(network.model, images, ["scores"])[0]
    assert np.array_equal(repaired.expected[0], expected)
    assert np.square(repaired.outputs[0] - expected).mean() < np.square(plain - expected).mean()
    again = run_onnx(onnx.load_model_from_string(repaired.model), images, ["scores"])[0]
    np.testing.assert_allclose(again, repaired.outputs[0], atol=1e-5)
    assert [(row.name, row.op) for row in repaired.layers] == [
        ("r0", "Conv"),
        ("c1", "Conv"),
        ("scores", "Gemm"),
    ]
    kept = sum(row.repaired for row in repaired.layers)
    assert kept >= 2
    assert {step.layers for step in repaired.steps} == {kept}
    for row in repaired.layers:
        assert row.sqnr_db is not None
        assert row.sqnr_db > 15
        assert row.output_range[0] < row.output_range[1]
        assert row.weight_range[0] < 0 < row.weight_range[1]
    assert repaired.layers[0].output_range[0] == pytest.approx(0, abs=0.05)


def test_without_steps_layers_are_measured_only() -> None:
    network, quantized, images = make()
    measured = repair_onnx(network, quantized, images, outputs=["scores"], steps=())
    assert measured.model == quantized.SerializeToString()
    assert measured.steps == ()
    assert [row.repaired for row in measured.layers] == [False] * 3


def test_a_layer_that_stayed_float_is_reported_as_it_is() -> None:
    network, quantized, images = make(lifted=("depthwise",))
    graph = network.graph
    sites = [find_site(QdqModel(quantized), graph, op) for op in find_layers(graph)]
    assert [site is not None and site.is_repairable for site in sites] == [True, False, True]
    repaired = repair_onnx(network, quantized, images, outputs=["scores"])
    assert [row.repaired for row in repaired.layers][1] is False
    assert len(repaired.layers) == 3


def test_a_repair_that_does_not_help_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(layer: Any, *_more: Any) -> Any:
        return replace(layer, integers=np.zeros_like(layer.integers))

    monkeypatch.setattr(repair, "apply_steps", spoil)
    network, quantized, images = make()
    repaired = repair_onnx(network, quantized, images, outputs=["scores"])
    plain = run_onnx(quantized, images, ["scores"])[0]
    assert np.array_equal(repaired.outputs[0], plain)
    again = run_onnx(onnx.load_model_from_string(repaired.model), images, ["scores"])[0]
    assert np.array_equal(again, plain)
    assert not any(row.repaired for row in repaired.layers)


def test_a_tensor_that_two_layers_read_leaves_both_in_integers(tmp_path: Path) -> None:
    network = open_network(normalize_onnx(tiny_onnx.build_detector(), shown="tiny"))
    images = np.random.default_rng(0).uniform(-1, 1, (4, 1, 16, 16, 3)).astype(np.float32)
    ranges = calibrate_onnx(network, list(images)).ranges
    bounds = {network.graph.tensors[t].name: seen.bounds() for t, seen in ranges.items()}
    quantized = run_onnx_engine(network.model, Scheme.INT8, {**bounds, "image": (-1.0, 1.0)})
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # it warns that the file is for this machine: so it is
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    runtime.InferenceSession(
        quantized.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert kinds.count("QLinearConv") == 6
    assert "Conv" not in kinds

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import build_detector

from edgevision.benchmarks.placement.explain import explain
from edgevision.errors import (
    DelegateError,
    InvalidConfigError,
    InvalidModelError,
    UnsupportedOpError,
)


def test_whole_classifier_goes_to_xnnpack(tiny_tflite: Path) -> None:
    document = explain(tiny_tflite).to_dict()
    assert document["ops_total"] == len(document["ops"])
    assert document["ops_delegated"] == document["ops_total"]
    assert document["partitions"] == 1
    for op in document["ops"]:
        assert set(op) >= {"index", "op", "name", "placement", "reason"}
        assert (op["placement"], op["reason"]) == ("xnnpack", "")


def test_custom_op_stays_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "detector.tflite"
    path.write_bytes(build_detector())
    ops = explain(path).to_dict()["ops"]
    left = [op for op in ops if op["placement"] == "cpu"]
    assert left[-1]["op"] == "CUSTOM:TFLite_Detection_PostProcess"
    assert "custom op" in left[-1]["reason"]


def test_int8_hard_swish_has_its_reason(real_data: Path) -> None:
    document = explain(real_data / "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")
    left = [op for op in document.ops if op.placement == "cpu"]
    assert {op.op for op in left} >= {"CUSTOM:TFLite_Detection_PostProcess"}
    assert all(op.reason for op in left)


@pytest.mark.usefixtures("no_gpu")
def test_missing_devices_are_never_replaced(tiny_tflite: Path) -> None:
    with pytest.raises(DelegateError, match="gpu"):
        explain(tiny_tflite, device="gpu")


def test_edge_tpu_placement_is_a_prediction(tiny_tflite: Path) -> None:
    document = explain(tiny_tflite, device="edgetpu").to_dict()
    assert document["ops_delegated"] == 0  # a float network
    assert {op["confidence"] for op in document["ops"]} == {"unlikely"}
    assert "--scheme edgetpu" in document["notes"][0]


def test_unknown_devices_are_refused_with_those_that_exist(tiny_tflite: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"device=toaster.*cpu, gpu or edgetpu"):
        explain(tiny_tflite, device="toaster")


def test_noise_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "noise.tflite"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InvalidModelError):
        explain(path)


def test_onnx_file_is_told_to_be_converted(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    value = [helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(UnsupportedOpError, match="edgevision convert"):
        explain(path)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_detectors import CONTRACT, DETECTION, LABELS, build_detector_body
from tiny_models import build_classifier, build_segmenter

from edgevision.cli.app import run as run_command
from edgevision.contract import Contract, Detection
from edgevision.converters import convert as face
from edgevision.converters.convert import ConversionResult, convert
from edgevision.converters.ending_check import check_nms, find_boxes, read_heads, read_results
from edgevision.errors import InvalidConfigError, QualityGateError
from edgevision.graph.contracts import attach_contract, read_contract, write_contract
from edgevision.graph.detection_heads import RAW_HEADS, RESULTS, name_outputs
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.postprocess import append_postprocess, extract_postprocess
from edgevision.graph.reader import read_graph
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.load import load
from edgevision.runtime.sessions import open_session
from edgevision.specs import Heads, Quantization, ScoreKind, Task

Array = np.ndarray[Any, Any]
MAPPED = Contract(task=Task.SEGMENT, labels=("background", "a", "b", "c"), scores=ScoreKind.LOGITS)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "raw.tflite"
    path.write_bytes(attach_contract(build_detector_body(), CONTRACT))
    return path


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    path = tmp_path / "segmenter.tflite"
    path.write_bytes(attach_contract(build_segmenter(varied=True), MAPPED))
    return path


def name_ends(result: ConversionResult) -> set[str]:
    return set(name_outputs(read_graph(result.output)))


def test_a_file_keeps_its_ending_unless_another_is_asked_for(
    detector: Path, tmp_path: Path
) -> None:
    kept = convert(detector, tmp_path / "kept.tflite")
    assert name_ends(kept) == set(RAW_HEADS)

    boxes = convert(detector, tmp_path / "boxes.tflite", heads="nms")
    assert (name_ends(boxes), boxes.ending.heads) == (set(RESULTS), Heads.NMS)
    assert read_contract(boxes.output) == CONTRACT
    again = convert(boxes.output, tmp_path / "again.tflite")
    assert name_ends(again) == set(RESULTS)

    raw = convert(boxes.output, tmp_path / "raw.tflite", heads="raw")
    assert name_ends(raw) == set(RAW_HEADS)
    assert raw.to_dict()["heads"] == "raw"


def test_limits_go_into_the_file(detector: Path, tmp_path: Path) -> None:
    limits = {"score_threshold": 0.5, "iou_threshold": 0.25, "max_detections": 3}

    result = convert(detector, tmp_path / "m.tflite", heads="nms", class_agnostic=True, **limits)

    assert result.contract.detection == replace(DETECTION, **limits, class_agnostic=True)
    shapes = {spec.shape for spec in open_session(result.output).outputs}
    assert (1, 3, 4) in shapes
    changed = convert(result.output, tmp_path / "n.tflite", max_detections=5)
    assert (1, 5, 4) in {spec.shape for spec in open_session(changed.output).outputs}


def test_logits_become_probabilities_behind_suppression(tmp_path: Path) -> None:
    source = tmp_path / "m.tflite"
    source.write_bytes(
        attach_contract(build_detector_body(), replace(CONTRACT, scores=ScoreKind.LOGITS))
    )

    result = convert(source, tmp_path / "boxes.tflite", heads="nms")

    assert result.contract.scores is ScoreKind.PROBABILITIES
    assert "LOGISTIC" in [op.name for op in read_graph(result.output).ops][-4:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "nms"}, "only a detector has heads"),
        ({"max_detections": 5}, "only a detector suppresses"),
        ({"argmax": True}, "only a segmenter"),
    ],
)
def test_endings_of_other_tasks_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    source = tmp_path / "classifier.tflite"
    source.write_bytes(build_classifier())

    with pytest.raises(InvalidConfigError, match=message):
        convert(source, tmp_path / "m.tflite", **options)
    assert not (tmp_path / "m.tflite").exists()


def test_without_anchors_there_are_no_boxes(tmp_path: Path) -> None:
    source = tmp_path / "m.tflite"
    source.write_bytes(build_detector_body())

    with pytest.raises(InvalidConfigError, match="nobody says them"):
        convert(source, tmp_path / "boxes.tflite", heads="nms")


def test_the_ending_is_checked(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap_anchors(*arguments: Any) -> Any:
        finished = put_on(*arguments[:4])
        other = replace(DETECTION, anchors=DETECTION.anchors, box_scales=(5, 10, 10, 5))
        return replace(finished, data=append_postprocess(build_detector_body(), other, len(LABELS)))

    put_on = face.put_on
    monkeypatch.setattr(face, "put_on", lambda *a, **_: swap_anchors(*a))

    with pytest.raises(QualityGateError, match="what the raw outputs say"):
        convert(detector, tmp_path / "boxes.tflite", heads="nms")
    assert not (tmp_path / "boxes.tflite").exists()


def test_a_class_map_is_put_on_and_taken_off(segmenter: Path, tmp_path: Path) -> None:
    result = convert(segmenter, tmp_path / "map.tflite", argmax=True)

    assert name_ends(result) == {"class_map"}
    assert result.to_dict()["argmax"] is True
    assert result.contract.labels == MAPPED.labels
    scores = convert(result.output, tmp_path / "scores.tflite", argmax=False)
    assert name_ends(scores) == {"score_map"}


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_a_class_map_in_onnx(segmenter: Path, tmp_path: Path, layout: str) -> None:
    pytest.importorskip("tf2onnx")
    scores = convert(segmenter, tmp_path / "scores.onnx", layout=layout)
    mapped = convert(segmenter, tmp_path / "map.onnx", layout=layout, argmax=True)

    (spec,) = open_session(scores.output).outputs
    assert spec.shape == ((1, 6, 6, 4) if layout == "nhwc" else (1, 4, 6, 6))
    (spec,) = open_session(mapped.output).outputs
    assert (spec.name, spec.shape, spec.dtype) == ("class_map", (1, 6, 6), "int64")
    image = np.random.default_rng(3).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    masks = [load(file).predict(image).mask for file in (segmenter, scores.output, mapped.output)]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_a_command_says_what_the_file_ends_in(
    detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.tflite"
    options = ["--heads", "nms", "--max-detections", "4", "--agnostic-nms", "--json"]

    code = run_command(["convert", str(detector), "-o", str(output), *options])

    document = json.loads(capsys.readouterr().out)
    assert (code, document["heads"]) == (0, "nms")
    rules = document["contract"]["detection"]
    assert (rules["max_detections"], rules["class_agnostic"]) == (4, True)


def count_equal(
    first: Any, second: Any, *, min_iou: float = 0.99, max_error: float = 1e-3
) -> tuple[int, int]:
    """Count boxes with an equal one on the other side; return also how many there are."""
    from edgevision.metrics.detection import box_iou

    alike = box_iou(first.boxes, second.boxes) >= min_iou
    alike &= first.classes[:, None] == second.classes
    alike &= np.abs(first.scores[:, None] - second.scores) <= max_error
    return int(min(alike.any(1).sum(), alike.any(0).sum())), max(len(first), len(second))


@pytest.mark.parametrize("num_classes", [2, 5])
def test_four_exports_of_a_detector_find_the_same_boxes(tmp_path: Path, num_classes: int) -> None:
    pytest.importorskip("tf2onnx")
    labels = tuple(f"thing {i}" for i in range(num_classes))
    source = tmp_path / "m.tflite"
    body = build_detector_body(num_classes=num_classes, seed=6)
    source.write_bytes(attach_contract(body, replace(CONTRACT, labels=labels)))
    files = [
        convert(source, tmp_path / f"{heads}{suffix}", heads=heads).output
        for suffix in (".tflite", ".onnx")
        for heads in ("nms", "raw")
    ]
    rng = np.random.default_rng(9)
    images = [rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(20)]

    first, *others = ([load(f).predict(image, threshold=0.0) for image in images] for f in files)

    assert sum(map(len, first)) > 100
    for other in others:
        counts = [count_equal(a, b) for a, b in zip(first, other, strict=True)]
        assert [equal for equal, _ in counts] == [total for _, total in counts]


def test_four_exports_of_a_network_find_the_same_boxes(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    from edgevision.models.registry import create_model, default_contract

    labels = ("Platelets", "RBC", "WBC")
    model = create_model("ssd_mobilenet_v1", alpha=0.25, input_size=128, num_classes=len(labels))
    rng = np.random.default_rng(2)
    for layer in model.layers:  # the heads of a new network answer the same everywhere
        if layer.name.startswith(("head_boxes", "head_scores")) and layer.weights:
            shapes = [weights.shape for weights in layer.get_weights()]
            layer.set_weights([rng.normal(0, 0.5, shape) for shape in shapes])
    source = tmp_path / "m.keras"
    model.save(source)
    write_contract(source, default_contract("ssd_mobilenet_v1", labels=labels, input_size=128))
    # The way from Keras to ONNX leads through the same .tflite.
    ways = ((source, ".tflite"), (tmp_path / "raw.tflite", ".onnx"))
    files = [
        convert(origin, tmp_path / f"{heads}{suffix}", heads=heads).output
        for origin, suffix in ways
        for heads in ("nms", "raw")
    ]
    images = sorted((real_data / "bccd/JPEGImages").iterdir())[:20]

    first, *others = (load(file).predict_batch(images, threshold=0.0) for file in files)

    assert sum(map(len, first)) > 500
    for other in others:
        equal, total = np.sum([count_equal(*p) for p in zip(first, other, strict=True)], axis=0)
        assert equal == total


def test_onnx_endings_change_without_the_source(detector: Path, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    boxes = convert(detector, tmp_path / "boxes.onnx")
    assert name_ends(boxes) == set(RESULTS)

    raw = convert(boxes.output, tmp_path / "raw.onnx", heads="raw")
    assert name_ends(raw) == set(RAW_HEADS)
    back = convert(raw.output, tmp_path / "back.onnx", heads="nms", max_detections=4)
    assert back.contract.detection == replace(DETECTION, max_detections=4)
    tflite = convert(boxes.output, tmp_path / "boxes.tflite")
    assert (name_ends(tflite), tflite.contract.labels) == (set(RESULTS), LABELS)


def test_suppression_by_others_stays_in_onnx(detector: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    boxes = convert(detector, tmp_path / "boxes.onnx")
    proto = onnx.load(boxes.output)
    for node in proto.graph.node:
        node.name = ""
    onnx.save(proto, tmp_path / "foreign.onnx")

    kept = convert(tmp_path / "foreign.onnx", tmp_path / "kept.onnx")

    assert (name_ends(kept), kept.ending.heads) == (set(RESULTS), Heads.NMS)
    for options in ({"heads": "raw"}, {"max_detections": 3}):
        with pytest.raises(InvalidConfigError, match="the suppression of boxes in this file"):
            convert(tmp_path / "foreign.onnx", tmp_path / "other.onnx", **options)


def test_quantized_heads_become_floats_in_onnx(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    editor = ModelEditor(build_detector_body())
    boxes, scores = read_tflite(editor.to_bytes()).outputs
    scales = Quantization((0.05,), (3,)), Quantization((1 / 256,), (-128,))
    stored = []
    for tensor, scale in zip((boxes, scores), scales, strict=True):
        shape = editor.model.subgraphs[0].tensors[tensor].shape
        name = f"stored_{tensor}"
        stored.append(editor.add_tensor(name, shape=shape, dtype="int8", quantization=scale))
        editor.add_op("QUANTIZE", [tensor], [stored[-1]])
    image = editor.model.subgraphs[0].inputs[0]
    editor.set_outputs(stored)
    names = dict(zip(RAW_HEADS, stored, strict=True))
    editor.set_signature("serving_default", inputs={"image": int(image)}, outputs=names)
    source = tmp_path / "m.tflite"
    source.write_bytes(attach_contract(editor.to_bytes(), CONTRACT))

    raw = convert(source, tmp_path / "raw.onnx", heads="raw")
    boxes_file = convert(source, tmp_path / "boxes.tflite", heads="nms")

    assert {s.dtype for s in open_session(raw.output).outputs} == {"float32"}
    assert [op.name for op in read_graph(boxes_file.output).ops][-3:] == [
        "DEQUANTIZE",
        "DEQUANTIZE",
        "CUSTOM:TFLite_Detection_PostProcess",
    ]
    kept = convert(source, tmp_path / "kept.tflite")
    assert {s.dtype for s in open_session(kept.output).outputs} == {"int8"}


def predict_both(source: Path, target: Path, photos: Path) -> list[tuple[Any, Any]]:
    result = convert(source, target, heads="nms")
    images = sorted(photos.rglob("*.jpg"))[:20]
    answers = (load(f).predict_batch(images, threshold=0.3) for f in (source, result.output))
    return list(zip(*answers, strict=True))


def test_a_real_detector_keeps_its_answers(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"

    pairs = predict_both(source, tmp_path / "m.tflite", real_data / "coco")

    equal, total = np.sum([count_equal(*pair) for pair in pairs], axis=0)
    assert equal == total > 100


def test_a_real_detector_becomes_onnx(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    source = real_data / "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"

    pairs = predict_both(source, tmp_path / "m.onnx", real_data / "coco")

    # The network computes in 8 bits, and the two runtimes round its sums to neighbouring codes.
    counts = [count_equal(*pair, min_iou=0.7, max_error=0.1) for pair in pairs]
    equal, total = np.sum(counts, axis=0)
    assert equal > 0.8 * total > 80


def test_a_real_quantized_segmenter_becomes_onnx(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    source = real_data / "edgetpu_pairs/deeplabv3_mnv2_dm05_pascal_quant.tflite"

    result = convert(source, tmp_path / "m.onnx")

    assert (name_ends(result), result.parity.passed) == ({"class_map"}, True)


def test_suppression_of_a_file_is_compared_on_heads_of_its_own(tmp_path: Path) -> None:
    model = append_postprocess(build_detector_body(), DETECTION, len(LABELS))
    path = tmp_path / "ending.tflite"
    path.write_bytes(extract_postprocess(model))
    ending = open_session(path)

    assert check_nms(ending, CONTRACT) == 1.0
    with pytest.raises(QualityGateError):
        check_nms(ending, replace(CONTRACT, detection=Detection(anchors=DETECTION.anchors)))


def test_heads_and_results_are_read_by_name(detector: Path, tmp_path: Path) -> None:
    boxes_file = convert(detector, tmp_path / "boxes.tflite", heads="nms").output
    raw, nms = open_session(detector), open_session(boxes_file)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)

    own = find_boxes(*read_heads(raw.outputs, raw.run({"image": image})), CONTRACT)

    received = read_results(nms.run({"image": image}))
    np.testing.assert_allclose(own[0], received[0], atol=1e-5)
    np.testing.assert_array_equal(own[1], received[1])

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_detectors import (
    CONTRACT,
    DETECTION,
    LABELS,
    NUM_ANCHORS,
    build_bare_heads,
    build_detector_body,
    suppress_plainly,
)

from edgevision.contract import AnchorGrid, Detection
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.anchors import lay_out_anchors
from edgevision.graph.detection_heads import RAW_HEADS, RESULTS, name_outputs, pair_heads
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.postprocess import (
    append_postprocess,
    count_object_classes,
    detach_postprocess,
    extract_postprocess,
    fit_grids,
    read_anchors,
    read_detection,
)
from edgevision.graph.tflite import read_tflite
from edgevision.specs import Quantization

Array = np.ndarray[Any, Any]


def run_signature(model: bytes, *, threads: int = 1, **inputs: Array) -> dict[str, Array]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(**inputs)


def draw_heads(seed: int, num_scores: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    encodings = rng.normal(0, 3, (1, NUM_ANCHORS, 4)).astype(np.float32)
    return encodings, rng.uniform(0, 1, (1, NUM_ANCHORS, num_scores)).astype(np.float32)


def check_answers(
    received: dict[str, Array], encodings: Array, scores: Array, detection: Detection
) -> None:
    boxes, classes, best = suppress_plainly(encodings, scores, detection)
    count = int(received["count"][0])
    assert count == len(boxes) > 3
    np.testing.assert_allclose(received["scores"][0, :count], best, atol=1e-6)
    np.testing.assert_array_equal(received["classes"][0, :count], classes)
    np.testing.assert_allclose(received["boxes"][0, :count], boxes, atol=1e-5)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("max_detections", [5, 40])
def test_the_operation_answers_as_plain_suppression(
    class_agnostic: bool, background: bool, max_detections: int
) -> None:
    detection = replace(
        DETECTION,
        class_agnostic=class_agnostic,
        background=background,
        max_detections=max_detections,
        box_scales=(9, 11, 4, 6),
    )
    num_scores = len(LABELS) + background
    heads = build_bare_heads(num_anchors=NUM_ANCHORS, num_scores=num_scores, quantizations=None)
    model = append_postprocess(heads, detection, len(LABELS))

    for seed in range(3):
        encodings, scores = draw_heads(seed, num_scores)
        received = run_signature(model, box_encodings=encodings, class_scores=scores)
        assert received["boxes"].shape == (1, max_detections, 4)
        check_answers(received, encodings[0], scores[0], detection)


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("background", [False, True])
def test_threads_lose_no_class(threads: int, background: bool) -> None:
    """The operation's own workers skip the class of their number; spare classes take the loss."""
    detection = replace(DETECTION, background=background, max_detections=200)
    num_scores = 5 + background
    heads = build_bare_heads(num_anchors=NUM_ANCHORS, num_scores=num_scores, quantizations=None)
    model = append_postprocess(heads, detection, 5)
    encodings, scores = draw_heads(1, num_scores)

    received = run_signature(model, threads=threads, box_encodings=encodings, class_scores=scores)

    check_answers(received, encodings[0], scores[0], detection)
    assert set(received["classes"][0, : int(received["count"][0])]) == {0, 1, 2, 3, 4}
    graph = read_tflite(model)
    assert count_object_classes(graph) == 5
    assert read_detection(graph).background is background
    bare = detach_postprocess(model)
    assert [s.shape[-1] for s in read_tflite(bare).output_specs()] == [4, num_scores]
    ending = run_signature(
        extract_postprocess(model), threads=threads, box_encodings=encodings, class_scores=scores
    )
    np.testing.assert_array_equal(ending["classes"], received["classes"])


def test_quantized_heads_keep_a_scale_each() -> None:
    scales = Quantization((0.08,), (11,)), Quantization((1 / 256,), (-128,))
    heads = build_bare_heads(num_anchors=NUM_ANCHORS, num_scores=3, quantizations=scales)
    model = append_postprocess(heads, DETECTION, len(LABELS))
    rng = np.random.default_rng(5)
    encodings = rng.integers(-30, 50, (1, NUM_ANCHORS, 4)).astype(np.int8)
    # No two scores alike: equal ones may come in any order.
    scores = rng.permutation(NUM_ANCHORS * 3).reshape(1, NUM_ANCHORS, 3).astype(np.int64) - 128
    scores = scores.clip(-128, 127).astype(np.int8)

    received = run_signature(model, box_encodings=encodings, class_scores=scores)

    real = (encodings[0] - np.float32(11)) * np.float32(0.08)
    values = (scores[0] + np.float32(128)) / np.float32(256)
    expected = suppress_plainly(real, values, DETECTION)
    count = int(received["count"][0])
    assert count == len(expected[0])
    np.testing.assert_allclose(received["scores"][0, :count], expected[2], atol=1e-6)
    ops = [op.name for op in read_tflite(model).ops]
    assert ops == ["DEQUANTIZE", "DEQUANTIZE", "CUSTOM:TFLite_Detection_PostProcess"]


def test_logits_go_through_a_sigmoid() -> None:
    heads = build_bare_heads(num_anchors=NUM_ANCHORS, num_scores=3, quantizations=None)
    model = append_postprocess(heads, DETECTION, len(LABELS), logits=True)
    encodings, logits = draw_heads(8, 3)
    logits = logits * 4 - 2

    received = run_signature(model, box_encodings=encodings, class_scores=logits)

    check_answers(received, encodings[0], 1 / (1 + np.exp(-logits[0])), DETECTION)


def test_detaching_gives_the_body_back() -> None:
    body = build_detector_body()
    model = append_postprocess(body, DETECTION, len(LABELS))
    graph = read_tflite(model)
    assert name_outputs(graph) == list(RESULTS)
    assert list(graph.signatures["serving_default"][0]) == ["image"]

    restored = detach_postprocess(model)

    assert name_outputs(read_tflite(restored)) == list(RAW_HEADS)
    image = np.random.default_rng(1).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    before, after = (run_signature(m, image=image) for m in (body, restored))
    for name in RAW_HEADS:
        np.testing.assert_array_equal(before[name], after[name])
    assert len(read_tflite(restored).tensors) == len(read_tflite(body).tensors)


def test_detaching_quantized_heads_leaves_them_quantized_or_not() -> None:
    scales = Quantization((0.08,), (11,)), Quantization((1 / 256,), (-128,))
    heads = build_bare_heads(num_anchors=NUM_ANCHORS, num_scores=3, quantizations=scales)
    model = append_postprocess(heads, DETECTION, len(LABELS))

    for keep, dtype in ((False, "int8"), (True, "float32")):
        specs = read_tflite(detach_postprocess(model, keep_floats=keep)).output_specs()
        assert [s.dtype for s in specs] == [dtype, dtype]


def test_settings_are_read_back() -> None:
    model = append_postprocess(build_detector_body(), DETECTION, len(LABELS))
    graph = read_tflite(model)

    read = read_detection(graph)

    assert count_object_classes(graph) == len(LABELS)
    assert read.score_threshold == pytest.approx(DETECTION.score_threshold)
    assert replace(read, anchors=(), score_threshold=0.3) == replace(DETECTION, anchors=())
    expected = lay_out_anchors(DETECTION.anchors)
    np.testing.assert_allclose(lay_out_anchors(read.anchors), expected, atol=1e-6)


def test_settings_of_a_real_file(real_data: Path) -> None:
    graph = read_tflite(real_data / "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")

    read = read_detection(graph)

    assert (count_object_classes(graph), read.max_detections, read.background) == (90, 10, True)
    assert (read.class_agnostic, read.iou_threshold) == (True, pytest.approx(0.6))
    assert read.anchors == ()  # stored in 8 bits: no grid fits them
    assert read_anchors(graph).shape == (1917, 4)


def test_anchors_without_a_grid_are_left() -> None:
    rng = np.random.default_rng(0)
    assert fit_grids(rng.uniform(0.1, 0.9, (20, 4)).astype(np.float32)) == ()
    cut = lay_out_anchors([AnchorGrid(size=(3, 3), boxes=((0.1, 0.1),))])[:-1]
    assert fit_grids(cut) == ()


@pytest.mark.parametrize(
    ("changes", "num_classes", "message"),
    [
        ({"anchors": DETECTION.anchors[:1]}, 2, "32 anchors in the contract, 44 in the outputs"),
        ({}, 3, "3 scores, 3 classes"),
        ({"background": False}, 2, "3 scores, 2 classes, background=False"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], num_classes: int, message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        append_postprocess(build_detector_body(), replace(DETECTION, **changes), num_classes)


def test_a_model_without_the_operation_can_not_be_detached() -> None:
    with pytest.raises(InvalidModelError, match="does not end in"):
        detach_postprocess(build_detector_body())


def test_damaged_settings_are_refused() -> None:
    model = append_postprocess(build_detector_body(), DETECTION, len(LABELS))
    editor = ModelEditor(model)
    editor.model.subgraphs[0].operators[-1].customOptions = np.frombuffer(b"options", "u1")

    with pytest.raises(InvalidModelError, match="FlexBuffers"):
        read_detection(read_tflite(editor.to_bytes()))


def test_heads_are_told_by_name_and_by_shape() -> None:
    shapes = [(1, 6, 4), (1, 6, 4)]
    assert pair_heads(["class_scores", "box_encodings"], shapes) == (1, 0)
    assert pair_heads(["a", "b"], shapes) == (0, 1)
    with pytest.raises(InvalidModelError, match="two raw outputs"):
        pair_heads(["a", "b"], [(1, 6, 4), (1, 7, 3)])
    assert CONTRACT.detection is DETECTION

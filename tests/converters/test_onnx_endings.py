from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_detectors import DETECTION, NUM_ANCHORS, suppress_plainly

from edgevision.contract import Detection
from edgevision.converters.onnx_endings import append_argmax, append_nms, detach_ending
from edgevision.errors import InvalidConfigError, InvalidModelError

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

Array = np.ndarray[Any, Any]


def make_copier(shapes: dict[str, tuple[int, ...]], *, opset: int = 17) -> bytes:
    """Make a model that hands its inputs on to outputs of the given names and shapes."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_in"], [name]) for name in shapes],
        "copier",
        [helper.make_tensor_value_info(f"{n}_in", kind, s) for n, s in shapes.items()],
        [helper.make_tensor_value_info(n, kind, s) for n, s in shapes.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return bytes(model.SerializeToString())


def make_heads(num_scores: int, *, opset: int = 17) -> bytes:
    shapes = {"box_encodings": (1, NUM_ANCHORS, 4), "class_scores": (1, NUM_ANCHORS, num_scores)}
    return make_copier(shapes, opset=opset)


def run(model: bytes, **values: Array) -> dict[str, Array]:
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = {f"{name}_in": value for name, value in values.items()}
    return dict(zip(names, session.run(names, feeds), strict=True))


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
    for name in ("boxes", "classes", "scores"):
        assert not received[name][0, count:].any()


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("max_detections", "opset"), [(5, 17), (40, 18)])
def test_the_subgraph_answers_as_plain_suppression(
    class_agnostic: bool, background: bool, max_detections: int, opset: int
) -> None:
    detection = replace(
        DETECTION,
        class_agnostic=class_agnostic,
        background=background,
        max_detections=max_detections,
        box_scales=(9, 11, 4, 6),
    )
    model = append_nms(make_heads(2 + background, opset=opset), detection)

    for seed in range(3):
        encodings, scores = draw_heads(seed, 2 + background)
        received = run(model, box_encodings=encodings, class_scores=scores)
        assert {n: v.shape for n, v in received.items()} == {
            "boxes": (1, max_detections, 4),
            "classes": (1, max_detections),
            "scores": (1, max_detections),
            "count": (1,),
        }
        assert {value.dtype.name for value in received.values()} == {"float32"}
        check_answers(received, encodings[0], scores[0], detection)


def test_scores_at_the_threshold_stay_and_none_is_none() -> None:
    model = append_nms(make_heads(3), DETECTION)
    encodings = np.zeros((1, NUM_ANCHORS, 4), np.float32)
    scores = np.zeros((1, NUM_ANCHORS, 3), np.float32)

    assert not any(
        v.any() for v in run(model, box_encodings=encodings, class_scores=scores).values()
    )
    scores[0, 7, 2] = DETECTION.score_threshold
    received = run(model, box_encodings=encodings, class_scores=scores)
    assert (int(received["count"][0]), int(received["classes"][0, 0])) == (1, 1)


def test_logits_go_through_a_sigmoid() -> None:
    model = append_nms(make_heads(3), DETECTION, logits=True)
    encodings, logits = draw_heads(8, 3)
    logits = logits * 4 - 2

    received = run(model, box_encodings=encodings, class_scores=logits)

    check_answers(received, encodings[0], 1 / (1 + np.exp(-logits[0])), DETECTION)


@pytest.mark.parametrize(("shape", "axis"), [((1, 3, 4, 5), 3), ((1, 5, 3, 4), 1)])
def test_a_class_map_is_the_best_score_of_each_pixel(shape: tuple[int, ...], axis: int) -> None:
    scores = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    model = append_argmax(make_copier({"output": shape}), axis)

    feeds = {"output": scores}
    received = run(model, **feeds)

    assert list(received) == ["class_map"]
    np.testing.assert_array_equal(received["class_map"], scores.argmax(axis))
    restored = run(detach_ending(model), **feeds)
    np.testing.assert_array_equal(restored["score_map"], scores)
    with pytest.raises(InvalidConfigError, match="a class map"):
        append_argmax(make_copier({"output": (1, 4, 4, 1)}), 3)


def test_an_ending_can_be_taken_off_and_put_on_again() -> None:
    body = make_heads(3)
    model = append_nms(body, DETECTION)
    encodings, scores = draw_heads(2, 3)

    restored = detach_ending(model)

    received = run(restored, box_encodings=encodings, class_scores=scores)
    np.testing.assert_array_equal(received["box_encodings"], encodings)
    np.testing.assert_array_equal(received["class_scores"], scores)
    assert append_nms(restored, DETECTION) == model
    with pytest.raises(InvalidModelError, match="edgevision wrote"):
        detach_ending(body)


def test_a_file_with_the_ending_loads_as_a_detector(tmp_path: Path) -> None:
    from edgevision.graph.contract_guesses import guess_task
    from edgevision.graph.reader import read_graph
    from edgevision.specs import Task

    (tmp_path / "m.onnx").write_bytes(append_nms(make_heads(3), DETECTION))

    assert guess_task(read_graph(tmp_path / "m.onnx")) is Task.DETECT


def test_heads_that_were_logits_come_off_as_the_scores_that_the_file_states() -> None:
    model = append_nms(make_heads(3), DETECTION, logits=True)
    encodings, logits = draw_heads(4, 3)

    body = detach_ending(model)

    heads = run(body, box_encodings=encodings, class_scores=logits)
    np.testing.assert_allclose(heads["class_scores"], 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_array_equal(heads["box_encodings"], encodings)
    again = detach_ending(append_nms(body, DETECTION))
    scores = run(again, box_encodings=encodings, class_scores=logits)["class_scores"]
    np.testing.assert_allclose(scores, heads["class_scores"], atol=1e-6)

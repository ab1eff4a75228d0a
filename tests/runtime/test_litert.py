from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny_detectors import DETECTION, NUM_ANCHORS, build_bare_heads

from edgevision.errors import BackendUnavailableError, InvalidConfigError, InvalidModelError
from edgevision.graph import postprocess
from edgevision.graph.tflite import read_tflite
from edgevision.runtime import litert
from edgevision.runtime.litert import LiteRtSession, Node, assign_partitions


def ones(session: LiteRtSession) -> dict[str, np.ndarray]:
    return {spec.name: np.ones(spec.shape, spec.dtype) for spec in session.inputs}


def test_names_come_from_the_signature(float_model):
    session = LiteRtSession(float_model)
    assert [spec.name for spec in session.inputs] == ["image"]
    assert [spec.name for spec in session.outputs] == ["scores"]


def test_quantization_is_described(int8_model):
    session = LiteRtSession(int8_model)
    (image,), (logits,) = session.inputs, session.outputs
    assert (image.dtype, image.shape) == ("int8", (1, 2, 2, 3))
    assert image.quantization.scales == pytest.approx((2 / 255,))
    assert logits.quantization.zero_points == (5,)
    assert logits.quantization.axis is None


def test_run_returns_copies(float_model):
    session = LiteRtSession(float_model)
    first = session.run(ones(session))["scores"]
    kept = first.copy()
    other = {"image": np.zeros((1, 8, 8, 3), np.float32)}
    assert not np.array_equal(session.run(other)["scores"], kept)
    np.testing.assert_array_equal(first, kept)
    assert first.sum() == pytest.approx(1)


def test_invoke_repeats_the_last_inputs(float_model):
    session = LiteRtSession(float_model)
    expected = session.run(ones(session))["scores"]
    session.invoke()
    np.testing.assert_array_equal(session.run(ones(session))["scores"], expected)


@pytest.mark.parametrize(
    ("inputs", "rule"),
    [
        ({}, "takes the inputs image"),
        ({"picture": np.zeros((1, 8, 8, 3), np.float32)}, "takes the inputs image"),
        ({"image": np.zeros((8, 8, 3), np.float32)}, "float32 of shape"),
        ({"image": np.zeros((1, 8, 8, 3), np.float64)}, "float64"),
        ({"image": np.zeros((1, 8, 9, 3), np.float32)}, r"\(1, 8, 9, 3\)"),
    ],
)
def test_wrong_inputs_are_named(float_model, inputs, rule):
    with pytest.raises(InvalidConfigError, match=rule):
        LiteRtSession(float_model).run(inputs)


@pytest.mark.parametrize("length", [0, 8, 600])
def test_damaged_files_are_refused(float_model, tmp_path, length):
    path = tmp_path / "cut.tflite"
    path.write_bytes(float_model.read_bytes()[:length])
    with pytest.raises(InvalidModelError, match=r"cut\.tflite"):
        LiteRtSession(path)


def test_placement_counts_the_operations_of_the_file(float_model):
    placement = LiteRtSession(float_model).placement()
    assert placement.total_ops == len(read_tflite(float_model).ops)
    assert len(placement.partition_of) == placement.total_ops
    assert placement.delegated_ops == sum(p >= 0 for p in placement.partition_of)
    assert placement.partitions == len({p for p in placement.partition_of if p >= 0})
    assert bool(placement.delegate) == bool(placement.partitions)


def test_partitions_end_at_their_inputs():
    nodes = [
        Node("CONV_2D", (0, 10, 11), (1,)),
        Node("HARD_SWISH", (1,), (2,)),
        Node("CONV_2D", (2, 12, -1), (3,)),
        Node("ADD", (3, 1), (4,)),
        Node("DELEGATE", (0, 10, 11), (1,)),
        Node("DELEGATE", (2, 1, 12), (4,)),
    ]
    assert assign_partitions(nodes) == (0, -1, 1, 1)


def test_partition_with_two_outputs():
    nodes = [
        Node("CONV_2D", (0,), (1,)),
        Node("RELU", (1,), (2,)),
        Node("RELU6", (1,), (3,)),
        Node("CUSTOM", (2, 3), (4,)),
        Node("DELEGATE", (0,), (2, 3)),
    ]
    assert assign_partitions(nodes) == (0, 0, 0, -1)


def test_without_delegate_nothing_is_placed():
    assert assign_partitions([Node("CONV_2D", (0,), (1,))]) == (-1,)


def test_older_interpreters_are_tried_in_order(monkeypatch):
    tried = []

    def refuse(name):
        tried.append(name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(litert, "import_module", refuse)
    with pytest.raises(BackendUnavailableError, match="ai-edge-litert"):
        litert.find_interpreter.__wrapped__()
    assert tried == [module for module, _ in litert.INTERPRETERS]


def test_broken_interpreter_is_passed_over(monkeypatch):
    real = litert.import_module

    def import_second(name):
        if name == litert.INTERPRETERS[0][0]:
            raise ImportError("numpy.core.multiarray failed to import")
        return real("types") if name == litert.INTERPRETERS[1][0] else real(name)

    monkeypatch.setattr(litert, "import_module", import_second)
    assert litert.find_interpreter.__wrapped__()[1] == litert.INTERPRETERS[1][1]


def test_file_that_only_xnnpack_refuses_runs_without_and_says_so(float_model, monkeypatch):
    allocate = litert._allocate

    def refuse_delegate(runtime, path, settings, resolver):
        if resolver is runtime.OpResolverType.AUTO:
            raise RuntimeError("XNNPACK delegate failed to reshape")
        return allocate(runtime, path, settings, resolver)

    monkeypatch.setattr(litert, "_allocate", refuse_delegate)
    placement = LiteRtSession(float_model).placement()
    assert placement.delegated_ops == 0
    assert "failed to reshape" in placement.note


NUM_CLASSES = 20


def draw_heads() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (1, NUM_ANCHORS, NUM_CLASSES))
    boxes = rng.normal(0, 3, (1, NUM_ANCHORS, 4))
    return {"box_encodings": boxes.astype("f4"), "class_scores": scores.astype("f4")}


def write_detector(path, **changes):
    detection = replace(DETECTION, background=False, max_detections=2000, **changes)
    heads = build_bare_heads(num_anchors=NUM_ANCHORS, num_scores=NUM_CLASSES, quantizations=None)
    path.write_bytes(postprocess.append_postprocess(heads, detection, NUM_CLASSES))
    return path


def list_classes(session: LiteRtSession) -> set[int]:
    found = session.run(draw_heads())
    return set(found["classes"][0, : int(found["count"][0])].astype(int).tolist())


@pytest.mark.parametrize(("threads", "safe"), [(1, 1), (2, 1), (4, 1), (20, 20), (21, 21)])
def test_threads_lose_no_class_of_a_foreign_file(threads, safe, tmp_path, monkeypatch):
    monkeypatch.setattr(postprocess, "_SAFE_CLASSES", NUM_CLASSES)  # no spare classes
    session = LiteRtSession(write_detector(tmp_path / "boxes.tflite"), threads=threads)
    assert session.threads == safe
    assert list_classes(session) == set(range(NUM_CLASSES))
    note = session.placement().note
    assert bool(note) is (safe < threads)
    assert not note or f"it runs with {safe}" in note


@pytest.mark.parametrize(("threads", "safe"), [(2, 2), (15, 15), (16, 15), (24, 15), (36, 36)])
def test_more_threads_than_spare_classes_lose_no_class_of_ours(threads, safe, tmp_path):
    session = LiteRtSession(write_detector(tmp_path / "boxes.tflite"), threads=threads)
    assert session.threads == safe
    assert list_classes(session) == set(range(NUM_CLASSES))


def test_agnostic_suppression_keeps_its_threads(tmp_path):
    path = write_detector(tmp_path / "boxes.tflite", class_agnostic=True)
    session = LiteRtSession(path, threads=2)
    assert (session.threads, session.placement().note) == (2, "")


def test_nothing_is_printed(float_model):
    code = (
        "import numpy as np, sys; from edgevision.runtime.litert import LiteRtSession;"
        f"s = LiteRtSession({str(float_model)!r});"
        "s.run({'image': np.zeros((1, 8, 8, 3), np.float32)});"
        "sys.stderr.write('kept')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "kept")


def test_real_detector_keeps_its_postprocessing_on_the_interpreter(real_data):
    path = real_data / "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    session = LiteRtSession(path, threads=1)
    placement = session.placement()
    assert placement.total_ops == len(read_tflite(path).ops)
    assert placement.partition_of[-1] == -1
    assert placement.delegated_ops > placement.total_ops // 2
    outputs = session.run(ones(session))
    assert [outputs[spec.name].shape for spec in session.outputs] == [
        spec.shape for spec in session.outputs
    ]

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_detectors import CONTRACT, DETECTION, LABELS, NUM_ANCHORS, build_detector_body
from tiny_models import build_segmenter

from edgevision.contract import Contract
from edgevision.errors import QualityGateError
from edgevision.graph.argmax import append_argmax
from edgevision.graph.contracts import attach_contract, read_contract
from edgevision.graph.detection_heads import RAW_HEADS, RESULTS, find_heads, name_outputs
from edgevision.graph.postprocess import append_postprocess, detach_postprocess
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.agreement import check_collapse, measure_agreement
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.images import open_images
from edgevision.quantization.islands import Island
from edgevision.quantization.pipeline import Options, build_model, prepare_model
from edgevision.quantization.quantize import quantize
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.shared_ranges import share_ranges
from edgevision.quantization.source import open_source
from edgevision.runtime.load import load
from edgevision.specs import Lift, Scheme, Task

pytest.importorskip("ai_edge_quantizer")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(24):
        low = rng.integers(0, 128, 3)
        pixels = rng.integers(low, low + 128, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


def write_detector(path: Path, *, suppresses: bool, seed: int = 2) -> Path:
    model = build_detector_body(seed=seed)
    if suppresses:
        model = append_postprocess(model, DETECTION, len(LABELS))
    path.write_bytes(attach_contract(model, CONTRACT))
    return path


def test_a_detector_suppresses_boxes_behind_integer_heads(pictures: Path, tmp_path: Path) -> None:
    source = write_detector(tmp_path / "float.tflite", suppresses=True)

    result = quantize(source, tmp_path / "int8.tflite", calibration=pictures)

    graph = read_tflite(result.output)
    assert name_outputs(graph) == list(RESULTS)
    assert read_contract(result.output) == CONTRACT
    assert [op.name for op in graph.ops][-3:] == [
        "DEQUANTIZE",
        "DEQUANTIZE",
        "CUSTOM:TFLite_Detection_PostProcess",
    ]
    body = read_tflite(detach_postprocess(result.output.read_bytes()))
    boxes, scores = (body.tensors[t] for t in find_heads(body))
    assert {boxes.dtype, scores.dtype} == {"int8"}
    assert boxes.quantization is not None
    assert scores.quantization is not None
    assert scores.quantization.scales == (1 / 256,)
    assert scores.quantization.zero_points == (-128,)
    assert boxes.quantization.scales != scores.quantization.scales
    assert "QUANTIZE" not in [op.name for op in body.ops]
    document = result.to_dict()
    assert {row["name"] for row in document["outputs"]} == set(RAW_HEADS)
    assert all(row["sqnr_db"] > 15 for row in document["outputs"])
    assert document["agreement"] > 0.8
    assert result.warnings == ()


def test_float_and_integer_files_find_the_same(pictures: Path, tmp_path: Path) -> None:
    files = []
    for name, suppresses in (("boxes", True), ("raw", False)):
        source = write_detector(tmp_path / f"{name}.tflite", suppresses=suppresses)
        files.append(
            quantize(source, tmp_path / f"{name}_int8.tflite", calibration=pictures).output
        )
    assert name_outputs(read_tflite(files[1])) == list(RAW_HEADS)

    image = sorted(pictures.iterdir())[0]
    first, second = (load(file).predict(image, threshold=0.0) for file in files)

    assert len(first) == len(second) > 3
    np.testing.assert_allclose(np.sort(first.scores), np.sort(second.scores), atol=1e-6)


def test_limits_can_be_stated_while_quantizing(pictures: Path, tmp_path: Path) -> None:
    source = write_detector(tmp_path / "float.tflite", suppresses=True)

    result = quantize(source, tmp_path / "q.tflite", calibration=pictures, max_detections=3)

    contract = read_contract(result.output)
    assert contract is not None
    assert contract.detection == replace(DETECTION, max_detections=3)
    assert (1, 3, 4) in {spec.shape for spec in read_tflite(result.output).output_specs()}


@pytest.mark.parametrize("argmax", [False, True])
def test_a_segmenter_keeps_what_it_answers(pictures: Path, tmp_path: Path, argmax: bool) -> None:
    model = build_segmenter(varied=True)
    model = append_argmax(model) if argmax else model
    source = tmp_path / "float.tflite"
    labels = ("background", "a", "b", "c")
    source.write_bytes(attach_contract(model, Contract(task=Task.SEGMENT, labels=labels)))

    result = quantize(source, tmp_path / "int8.tflite", calibration=pictures)

    graph = read_tflite(result.output)
    assert [s.dtype for s in graph.output_specs()] == ["int32" if argmax else "int8"]
    assert graph.ops[-1].name == ("ARG_MAX" if argmax else "CONV_2D")
    assert result.agreement is not None
    assert result.agreement > 0.9


def test_a_collapse_is_told() -> None:
    graph = read_tflite(build_detector_body())
    rng = np.random.default_rng(0)
    heads = {
        "box_encodings": rng.normal(size=(4, 1, NUM_ANCHORS, 4)).astype(np.float32),
        "class_scores": rng.uniform(size=(4, 1, NUM_ANCHORS, 3)).astype(np.float32),
    }
    good = [heads[name] for name in name_outputs(graph)]
    silent = [np.zeros_like(values) for values in good]

    same = measure_agreement(CONTRACT, graph, (good, good))
    lost = measure_agreement(CONTRACT, graph, (good, silent))

    assert (same, lost) == (1.0, 0.0)
    assert measure_agreement(CONTRACT, graph, (silent, silent)) is None
    check_collapse(Task.DETECT, same)
    with pytest.raises(QualityGateError, match="only 0% of the float model's boxes"):
        check_collapse(Task.DETECT, lost)
    check_collapse(Task.CLASSIFY, 0.0)


def test_joined_scores_keep_the_scale_of_a_sigmoid() -> None:
    graph = read_tflite(build_detector_body())
    ranges = {
        t.index: ChannelRange(low=np.float32([-index]), high=np.float32([index]))
        for index, t in enumerate(graph.tensors)
        if t.data is None
    }

    shared = share_ranges(graph, ranges)

    boxes, scores = find_heads(graph)
    assert shared[scores].bounds() == (0.0, 255 / 256)
    named = {t.name: t.index for t in graph.tensors}
    for part in ("boxes_0", "boxes_1", "flat_boxes_0", "flat_boxes_1"):
        assert shared[named[part]].bounds() == ranges[boxes].bounds()
    for part in ("scores_0", "scores_1", "stem", "map_1"):
        assert shared[named[part]].bounds() == ranges[named[part]].bounds()


def test_an_edgetpu_detector_tells_of_its_suppression(pictures: Path, tmp_path: Path) -> None:
    source = write_detector(tmp_path / "float.tflite", suppresses=True)
    file = tmp_path / "tpu.tflite"

    result = quantize(source, file, calibration=pictures, scheme="edgetpu", unsigned=True)

    graph = read_tflite(file)
    assert graph.input_specs()[0].dtype == "uint8"
    assert name_outputs(graph) == list(RESULTS)
    told = [text for text in result.warnings if "on the CPU: " in text]
    assert any("2 DEQUANTIZE" in text for text in told)
    assert any("TFLite_Detection_PostProcess" in text for text in told)
    picture = next(pictures.iterdir())
    best = [next(iter(load(path).predict(picture))) for path in (source, file)]
    assert best[0].label == best[1].label
    assert abs(best[0].score - best[1].score) < 0.05


@pytest.mark.parametrize(("lift", "dtype"), [(Lift.FLOAT, "float32"), (Lift.INT16, "int16")])
def test_lifted_heads_are_suppressed_too(
    pictures: Path, tmp_path: Path, lift: Lift, dtype: str
) -> None:
    source = open_source(write_detector(tmp_path / "float.tflite", suppresses=True), {})
    images = open_images(source.contract, source.graph, pictures)
    prepared = prepare_model(source, images, Options(row=SCHEMES[Scheme.INT8]))
    every = tuple(range(len(prepared.final.graph.ops)))
    quantized = build_model(prepared, Island(ops=every, lift=lift))
    assert quantized.agreement is not None
    assert quantized.agreement > 0.8
    graph = read_tflite(quantized.model)
    assert {graph.tensors[t].dtype for t in graph.outputs} == {dtype}
    output = tmp_path / "q.tflite"
    output.write_bytes(attach_contract(source.finish(quantized.model), source.contract))
    assert name_outputs(read_tflite(output)) == list(RESULTS)
    picture = min(pictures.iterdir())
    found, expected = (load(file).predict(picture) for file in (output, source.path))
    assert abs(len(found.boxes) - len(expected.boxes)) <= 1

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_detectors import CONTRACT as DETECTOR
from tiny_detectors import DETECTION, build_detector_body
from tiny_models import build_classifier, build_detector, build_segmenter

from edgevision.contract import Contract, Preprocessing
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.postprocess import append_postprocess
from edgevision.graph.tables import Table, read_root
from edgevision.graph.tflite import read_metadata, read_tflite
from edgevision.graph.tflite_metadata import (
    METADATA_NAME,
    decode_metadata,
    encode_metadata,
    format_labels,
    parse_labels,
)
from edgevision.specs import ColorOrder, ScoreKind, Task

CLASSIFIER = Contract(
    task=Task.CLASSIFY,
    labels=("a", "b", "c"),
    preprocessing=Preprocessing(mean=(1, 2, 3), std=(4,)),
    name="tiny",
)


def encode(contract: Contract, model: bytes) -> tuple[Table, list[Table], list[Table]]:
    root = read_root(encode_metadata(contract, read_tflite(model)))
    subgraph = root.tables(3)[0]
    return root, subgraph.tables(2), subgraph.tables(3)


def content_of(tensor: Table) -> tuple[int, Table]:
    content = tensor.table(3)
    assert content is not None
    properties = content.table(1)
    assert properties is not None
    return content.scalar(0, "B", 0), properties


def test_a_classifier_round_trips() -> None:
    data = encode_metadata(CLASSIFIER, read_tflite(build_classifier()), description="Three.")
    assert data[4:8] == b"M001"
    decoded = decode_metadata(data)
    assert decoded.name == "tiny"
    assert decoded.description == "Three."
    assert decoded.mean == (1, 2, 3)
    assert decoded.std == (4,)
    assert decoded.color is ColorOrder.RGB
    assert decoded.label_files == ("labels.txt",)


def test_a_classifier_is_described_as_the_standard_asks() -> None:
    root, inputs, outputs = encode(CLASSIFIER, build_classifier())
    assert root.text(7) == "1.0.0"
    assert len(inputs) == len(outputs) == 1
    kind, image = content_of(inputs[0])
    assert (kind, image.scalar(0, "b", 0)) == (2, 1)  # ImageProperties, RGB
    unit = inputs[0].tables(4)[0]
    assert unit.scalar(0, "B", 0) == 1  # NormalizationOptions
    stats = inputs[0].table(5)
    assert stats is not None
    assert stats.numbers(0, "<f4").tolist() == [(255 - m) / 4 for m in (1, 2, 3)]
    assert stats.numbers(1, "<f4").tolist() == [(0 - m) / 4 for m in (1, 2, 3)]
    assert content_of(outputs[0])[0] == 1  # FeatureProperties
    file = outputs[0].tables(6)[0]
    assert (file.text(0), file.scalar(2, "b", 0)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_logits_have_no_stated_range_and_bgr_no_stated_colour() -> None:
    contract = Contract(
        task=Task.CLASSIFY,
        scores=ScoreKind.LOGITS,
        preprocessing=Preprocessing(color=ColorOrder.BGR),
    )
    _, inputs, outputs = encode(contract, build_classifier())
    assert outputs[0].table(5) is None
    assert outputs[0].tables(6) == []
    assert content_of(inputs[0])[1].scalar(0, "b", 0) == 0
    assert decode_metadata(encode_metadata(contract, read_tflite(build_classifier()))).color is None


def test_a_detector_describes_its_outputs_in_their_own_order() -> None:
    contract = Contract(task=Task.DETECT, labels=("person", "car"))
    _, inputs, outputs = encode(contract, build_detector())
    assert len(inputs) == 2
    assert [tensor.text(0) for tensor in outputs] == [
        "number of detections",
        "score",
        "category",
        "location",
    ]
    assert outputs[2].tables(6)[0].scalar(2, "b", 0) == 3  # TENSOR_VALUE_LABELS
    kind, boxes = content_of(outputs[3])
    assert kind == 3
    assert boxes.numbers(0, "<u4").tolist() == [1, 0, 3, 2]


def test_a_segmenter_has_one_mask_with_labels() -> None:
    contract = Contract(task=Task.SEGMENT, labels=tuple("abcd"))
    _, _, outputs = encode(contract, build_segmenter())
    assert outputs[0].text(0) == "segmentation masks"
    assert content_of(outputs[0])[0] == 2


def test_labels_keep_commas_and_unicode() -> None:
    labels = ("tench, Tinca tinca", "größe", "猫", 'no "person"', " padded ")
    assert parse_labels(format_labels(labels)) == labels
    assert parse_labels(b"\xef\xbb\xbfa\r\n\r\nb\r\n\r\n") == ("a", "", "b")
    assert parse_labels(b"") == ()


@pytest.mark.parametrize("label", ["two\nlines", "car\rriage", "nul\0"])
def test_labels_with_line_breaks_are_refused(label: str) -> None:
    with pytest.raises(InvalidConfigError, match="line break"):
        format_labels(["fine", label])


def test_other_encodings_are_refused() -> None:
    with pytest.raises(InvalidModelError, match="UTF-8"):
        parse_labels("größe".encode("latin-1"))


def test_damaged_metadata_are_refused() -> None:
    data = encode_metadata(CLASSIFIER, read_tflite(build_classifier()))
    with pytest.raises(InvalidModelError, match="M001"):
        decode_metadata(b"nothing")
    for length in range(8, len(data) - 4, 4):
        try:
            decode_metadata(data[:length])
        except InvalidModelError:
            continue


@pytest.mark.parametrize(
    ("name", "label_file"),
    [
        ("mobilenet_v1_0.25_224_1_metadata_1", "labels.txt"),
        ("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", "labelmap.txt"),
        ("deeplabv3", "labelmap.txt"),
    ],
)
def test_real_metadata(real_data: Path, name: str, label_file: str) -> None:
    model = (real_data / f"models/{name}.tflite").read_bytes()
    decoded = decode_metadata(read_metadata(model)[METADATA_NAME])
    assert decoded.mean == decoded.std == (127.5,)
    assert decoded.color is ColorOrder.RGB
    assert decoded.label_files == (label_file,)
    assert decoded.name
    assert decoded.version == "v1"


def test_corrected_classes_are_the_category() -> None:
    labels = tuple("abcd")
    model = append_postprocess(build_detector_body(num_classes=4), DETECTION, len(labels))

    _, _, outputs = encode(replace(DETECTOR, labels=labels), model)

    names = ["location", "category", "score", "number of detections"]
    assert [tensor.text(0) for tensor in outputs] == names


def test_raw_heads_are_no_boxes() -> None:
    _, _, outputs = encode(DETECTOR, build_detector_body())

    assert [tensor.text(0) for tensor in outputs] == ["box_encodings", "class_scores"]
    assert [content_of(tensor)[0] for tensor in outputs] == [1, 1]  # FeatureProperties
    assert [len(tensor.tables(6)) for tensor in outputs] == [0, 1]  # the labels

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.errors import DataError, InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.models.registry import (
    SPECS,
    backbone_layers,
    configure,
    create_model,
    create_pretrained,
    get_spec,
    head_layers,
)
from edgevision.models.weights import fetch_published, find_published, load_weights
from edgevision.specs import Task

sys.path.append(str(Path(__file__).parent))
from networks import draw_images, randomize

keras = pytest.importorskip("keras")

# Saving .h5 is legacy, and says so; reading it is what is tested.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*HDF5 file.*", "ignore:__array__ implementation:DeprecationWarning"
)

CHOICES: dict[str, Any] = {"alpha": 0.1, "input_size": 32, "classifier_activation": None}


def build(num_classes: int = 4, **choices: Any) -> Any:
    return create_model("mobilenet_v1", num_classes=num_classes, **{**CHOICES, **choices})


@pytest.fixture(scope="module")
def trained() -> Any:
    model = build()
    randomize(model)
    return model


@pytest.fixture(scope="module")
def foreign() -> Any:
    """The same network by ``keras.applications``, nested below another kind of classifier."""
    body = keras.applications.MobileNet((32, 32, 3), alpha=0.1, weights=None, include_top=False)
    image = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(body(image))
    model = keras.Model(image, keras.layers.Dense(4)(pooled))
    randomize(body)
    return model


IMAGES = draw_images((3, 32, 32, 3))


@pytest.mark.parametrize("file", ["m.keras", "m.h5", "m.weights.h5"])
def test_own_files_load_whole(trained: Any, tmp_path: Path, file: str) -> None:
    save = trained.save_weights if file.endswith(".weights.h5") else trained.save
    save(tmp_path / file)
    model = build()
    report = load_weights(model, tmp_path / file)
    assert len(report.loaded) == 27 * 2 + 1
    assert report.skipped == report.unused == ()
    np.testing.assert_array_equal(model(IMAGES), trained(IMAGES))


@pytest.mark.parametrize("file", ["m.keras", "m.h5", "m.weights.h5"])
def test_foreign_files_load_by_order(foreign: Any, tmp_path: Path, file: str) -> None:
    save = foreign.save_weights if file.endswith(".weights.h5") else foreign.save
    save(tmp_path / file)
    model = build()
    report = load_weights(model, tmp_path / file)
    assert report.skipped == report.unused == ()
    np.testing.assert_allclose(model(IMAGES), foreign(IMAGES), atol=1e-5)


def test_a_classifier_of_another_size_is_left_alone(trained: Any, tmp_path: Path) -> None:
    trained.save(tmp_path / "m.keras")
    model = build(num_classes=7)
    before = model.get_layer("head_logits").get_weights()
    report = load_weights(model, tmp_path / "m.keras")
    assert report.skipped == ("head_logits",)
    assert report.unused == ("head_logits",)
    assert report.to_dict()["skipped"] == ["head_logits"]
    for old, new in zip(before, model.get_layer("head_logits").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    features = [keras.Model(m.input, m.get_layer("head_pool").output) for m in (model, trained)]
    np.testing.assert_array_equal(features[0](IMAGES), features[1](IMAGES))


def test_a_file_without_a_classifier_loads_into_a_network_with_one(tmp_path: Path) -> None:
    body = build(include_top=False)
    body.save(tmp_path / "body.keras")
    model, report = create_pretrained(
        "mobilenet_v1", weights=tmp_path / "body.keras", num_classes=4, **CHOICES
    )
    assert report.skipped == ("head_logits",)
    assert model.output_shape == (None, 4)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"alpha": 0.2}, r"layer stem has 3x3x3x6, the file's stem 3x3x3x3.*alpha"),
        ({"channels": 1}, r"use channels=3"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_and_left_alone(
    trained: Any, tmp_path: Path, choices: dict[str, Any], message: str
) -> None:
    trained.save(tmp_path / "m.keras")
    model = build(**choices)
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(InvalidModelError, match=message):
        load_weights(model, tmp_path / "m.keras")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_network_is_refused_by_its_first_layer_that_differs(
    trained: Any, tmp_path: Path
) -> None:
    trained.save(tmp_path / "m.h5")
    with pytest.raises(InvalidModelError, match=r"do not fit the network.*layer "):
        create_model("mobilenet_v2", weights=tmp_path / "m.h5", **CHOICES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.h5"):
        create_model("mobilenet_v1", weights=tmp_path / "nowhere.h5", **CHOICES)


def test_forms_without_published_weights_say_which_exist() -> None:
    spec = get_spec("mobilenet_v2")
    for choices in ({"alpha": 0.25}, {"alpha": 1.3, "input_size": 96}, {"input_size": (96, 128)}):
        with pytest.raises(InvalidConfigError, match=r"alpha 0\.35 at 96, 128.*alpha 1\.4 at 224"):
            find_published(spec, configure("mobilenet_v2", **choices))
    with pytest.raises(InvalidConfigError, match="channels=1"):
        find_published(spec, configure("mobilenet_v2", channels=1))


def test_published_files_are_those_of_keras_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for every published form and compare what would be downloaded."""
    asked: list[tuple[str, str, str | None]] = []

    def note(name: str, address: str, *, cache_subdir: str, file_hash: str | None = None) -> str:
        assert cache_subdir == "models"
        asked.append((name, address, file_hash))
        return name

    monkeypatch.setattr(keras.utils, "get_file", note)
    for spec in SPECS.values():
        if spec.published is None or spec.task is not Task.CLASSIFY:
            continue
        for alpha, side in spec.published.files:
            fetch_published(spec, configure(spec.name, alpha=alpha, input_size=side))
    assert len(asked) == 4 * 4 + (4 * 5 + 2) + (2 + 2 + 1 + 1)
    base = "https://storage.googleapis.com/tensorflow/keras-applications"
    assert (
        "mobilenet_7_5_160_tf.h5",
        f"{base}/mobilenet/mobilenet_7_5_160_tf.h5",
        None,
    ) in asked
    v2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"
    assert (v2, f"{base}/mobilenet_v2/{v2}", None) in asked
    v3 = "weights_mobilenet_v3_small_minimalistic_224_1.0_float.h5"
    assert (v3, f"{base}/mobilenet_v3/{v3}", "99cd97fb2fcdad2bf028eb838de69e37") in asked


def test_a_detector_takes_the_backbone_for_224_pixels_at_any_size() -> None:
    spec = get_spec("ssd_mobilenet_v1")
    for size in (96, 300, (256, 320)):
        config = configure(spec.name, alpha=0.25, input_size=size)
        assert find_published(spec, config).file == "mobilenet_2_5_224_tf.h5"
    with pytest.raises(InvalidConfigError, match=r"alpha=0\.3, .*published are alpha 0\.25"):
        find_published(spec, configure(spec.name, alpha=0.3))


def test_no_network_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str, address: str, **_: Any) -> str:
        sys.stdout.write(f"Downloading data from {address}")
        raise Exception(f"URL fetch failure on {address}: None -- no route")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(DataError, match=r"mobilenet_2_5_224_tf\.h5.*no route.*--weights FILE"):
        create_model("mobilenet_v1", alpha=0.25, weights="imagenet")
    assert capsys.readouterr().out == ""


DETECTORS = ("ssd_mobilenet_v1", "ssdlite_mobilenet_v2", "ssd_mobilenet_v2_fpnlite")


def build_detector(name: str, num_classes: int = 2) -> Any:
    return create_model(name, alpha=0.1, input_size=64, num_classes=num_classes)


def read_layers(model: Any, *, head: bool) -> dict[str, list[np.ndarray[Any, Any]]]:
    names = head_layers(model) if head else backbone_layers(model)
    return {name: model.get_layer(name).get_weights() for name in names}


def assert_same_layers(found: Any, expected: Any, *, head: bool) -> None:
    ours, theirs = read_layers(found, head=head), read_layers(expected, head=head)
    for name, arrays in ours.items():
        for array, other in zip(arrays, theirs[name], strict=True):
            np.testing.assert_array_equal(array, other, err_msg=name)


@pytest.mark.parametrize(
    ("name", "file"), [*((name, "m.keras") for name in DETECTORS), (DETECTORS[0], "m.h5")]
)
def test_a_classifier_fills_the_backbone_of_a_detector(
    tmp_path: Path, name: str, file: str
) -> None:
    backbone = "mobilenet_v1" if name.endswith("v1") else "mobilenet_v2"
    classifier = create_model(backbone, alpha=0.1, input_size=32, num_classes=5)
    randomize(classifier)
    save = classifier.save_weights if file.endswith(".weights.h5") else classifier.save
    save(tmp_path / file)
    model, before = build_detector(name), build_detector(name)
    before.set_weights(model.get_weights())
    report = load_weights(model, tmp_path / file)
    assert_same_layers(model, classifier, head=False)
    assert_same_layers(model, before, head=True)
    assert report.loaded == tuple(n for n in backbone_layers(model) if model.get_layer(n).weights)
    assert report.skipped == tuple(n for n in head_layers(model) if model.get_layer(n).weights)
    assert report.unused == ("head_logits",)


@pytest.mark.parametrize("file", ["m.h5", "m.weights.h5"])
def test_a_foreign_classifier_fills_the_backbone_of_a_detector(
    foreign: Any, tmp_path: Path, file: str
) -> None:
    save = foreign.save_weights if file.endswith(".weights.h5") else foreign.save
    save(tmp_path / file)
    model = build_detector("ssd_mobilenet_v1")
    report = load_weights(model, tmp_path / file)
    assert len(report.loaded) == 27 * 2
    assert len(report.unused) == 1
    classifier = build()
    load_weights(classifier, tmp_path / file)
    assert_same_layers(model, classifier, head=False)


@pytest.mark.parametrize("file", ["m.h5", "m.weights.h5"])
def test_heads_that_keras_lists_among_the_backbone_take_none_of_its_weights(
    tmp_path: Path, file: str
) -> None:
    """A long head on an early layer stands before the later layers of the body."""

    def conv(name: str) -> Any:
        return keras.layers.Conv2D(2, 1, name=name)

    image = keras.Input((4, 4, 2))
    stem = conv("stem")(image)
    body = conv("block")(stem)
    head = stem
    for number in range(4):
        head = conv(f"head_{number}")(head)
    model = keras.Model(image, [body, head])
    names = [layer.name for layer in model.layers]
    assert names.index("head_0") < names.index("block")
    stored = keras.Sequential([image, conv("x"), conv("y"), conv("logits")])
    save = stored.save_weights if file.endswith(".weights.h5") else stored.save
    save(tmp_path / file)
    before = {name: model.get_layer(name).get_weights() for name in head_layers(model)}
    report = load_weights(model, tmp_path / file)
    assert (report.loaded, report.unused) == (("stem", "block"), ("logits",))
    assert report.skipped == ("head_0", "head_1", "head_2", "head_3")
    for ours, theirs in (("stem", "x"), ("block", "y")):
        kernel = model.get_layer(ours).kernel
        np.testing.assert_array_equal(kernel, stored.get_layer(theirs).kernel)
    for name, arrays in before.items():
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], arrays[0])


@pytest.mark.parametrize(
    ("name", "file"), [*((name, "m.keras") for name in DETECTORS), (DETECTORS[0], "m.weights.h5")]
)
def test_a_detector_of_our_own_loads_whole(tmp_path: Path, name: str, file: str) -> None:
    trained = build_detector(name)
    randomize(trained)
    save = trained.save_weights if file.endswith(".weights.h5") else trained.save
    save(tmp_path / file)
    model = build_detector(name)
    report = load_weights(model, tmp_path / file)
    assert report.skipped == report.unused == ()
    assert_same_layers(model, trained, head=False)
    assert_same_layers(model, trained, head=True)


def test_a_detector_of_other_classes_keeps_its_boxes(tmp_path: Path) -> None:
    trained = build_detector("ssd_mobilenet_v1", num_classes=4)
    trained.save(tmp_path / "m.keras")
    report = load_weights(build_detector("ssd_mobilenet_v1"), tmp_path / "m.keras")
    assert report.skipped == tuple(f"head_scores_{n}" for n in range(6))


def test_another_backbone_of_a_detector_is_refused(tmp_path: Path) -> None:
    build_detector("ssdlite_mobilenet_v2").save(tmp_path / "m.keras")
    with pytest.raises(InvalidModelError, match="do not fit the network"):
        load_weights(build_detector("ssd_mobilenet_v1"), tmp_path / "m.keras")


def test_head_and_backbone_layers_survive_saving(trained: Any, tmp_path: Path) -> None:
    trained.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert head_layers(loaded) == head_layers(trained)
    assert "head_logits" in head_layers(trained)
    assert len(head_layers(trained)) + len(backbone_layers(trained)) == len(trained.layers)


def test_imagenet_weights_of_keras_2_fill_a_detector(real_data: Path) -> None:
    path = real_data / "models/mobilenet_v1_0.25_224_imagenet.h5"
    classifier = create_model("mobilenet_v1", alpha=0.25, weights=path)
    model, report = create_pretrained(
        "ssd_mobilenet_v1", alpha=0.25, input_size=256, num_classes=3, weights=path
    )
    assert_same_layers(model, classifier, head=False)
    assert len(report.loaded) == 27 * 2
    assert all(name.startswith("head_") for name in report.skipped)


def test_imagenet_weights_of_keras_2_recognize_photos(real_data: Path) -> None:
    import csv

    from PIL import Image

    path = real_data / "models/mobilenet_v1_0.25_224_imagenet.h5"
    model, report = create_pretrained("mobilenet_v1", alpha=0.25, weights=path)
    assert report.skipped == report.unused == ()
    with (real_data / "imagenet/val/labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::5]
    side = int(227 * 0.875)
    margin = (227 - side) // 2
    box = (margin, margin, margin + side, margin + side)
    photos = [Image.open(real_data / "imagenet/val" / row["file"]).convert("RGB") for row in rows]
    pixels = np.stack([np.asarray(p.resize((224, 224), box=box)) for p in photos])
    scores = model.predict(pixels.astype(np.float32) / 127.5 - 1, verbose=0)
    hits = scores.argmax(1) == [int(row["label"]) for row in rows]
    assert hits.mean() > 0.5

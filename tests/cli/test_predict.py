"""``predict`` and ``evaluate`` of all three tasks through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_detectors import CONTRACT, DETECTION, build_detector_body
from tiny_models import build_segmenter

from edgevision.cli.app import run
from edgevision.contract import Contract
from edgevision.graph.contracts import attach_contract
from edgevision.graph.postprocess import append_postprocess

CLASSIFIER = Path(__file__).parents[1] / "runtime/models/float.tflite"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(
            folder / f"{name}.png"
        )
    return folder


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    detector = append_postprocess(build_detector_body(), DETECTION, len(CONTRACT.labels))
    labels = ("background", "a", "b", "c")
    files = {
        "detect": attach_contract(detector, CONTRACT),
        "segment": attach_contract(build_segmenter(), Contract(task="segment", labels=labels)),
    }
    for task, model in files.items():
        (tmp_path / f"{task}.tflite").write_bytes(model)
    return {"classify": str(CLASSIFIER), **{t: str(tmp_path / f"{t}.tflite") for t in files}}


def read_json(capsys: Captured, *arguments: object) -> Any:
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_answers_of_each_task(photos: Path, models: dict[str, str], capsys: Captured) -> None:
    for task, model in models.items():
        document = read_json(capsys, "predict", model, photos)
        assert [row["image"] for row in document] == [str(photos / f"{n}.png") for n in "ab"]
        if task == "segment":
            assert set(document[0]) == {"image", "height", "width", "areas"}
            continue
        keys = {"label", "index", "score"} | ({"box"} if task == "detect" else set())
        assert all(set(answer) == keys for row in document for answer in row["predictions"])


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_tables_of_each_task(
    task: str, photos: Path, models: dict[str, str], capsys: Captured
) -> None:
    assert run(["predict", models[task], str(photos)]) == 0
    assert "a.png" in capsys.readouterr().out


def test_threshold_keeps_what_scores_higher(
    photos: Path, models: dict[str, str], capsys: Captured
) -> None:
    every = read_json(capsys, "predict", models["detect"], photos / "a.png", "--threshold", 0)
    scores = [answer["score"] for answer in every[0]["predictions"]]
    assert scores == sorted(scores, reverse=True)
    limit = scores[len(scores) // 2]
    fewer = read_json(capsys, "predict", models["detect"], photos / "a.png", "--threshold", limit)
    assert len(fewer[0]["predictions"]) == sum(score >= limit for score in scores)
    best = read_json(capsys, "predict", models["detect"], photos / "a.png", "--top-k", 1)
    assert best[0]["predictions"] == every[0]["predictions"][:1]


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_saved_pictures(
    task: str, photos: Path, models: dict[str, str], tmp_path: Path, capsys: Captured
) -> None:
    read_json(capsys, "predict", models[task], photos, "--save", tmp_path / "out")
    names = {"a.png", "b.png"} | ({"masks/a.png", "masks/b.png"} if task == "segment" else set())
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert written == names


def test_a_mask_never_replaces_an_image(
    tmp_path: Path, models: dict[str, str], capsys: Captured
) -> None:
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "masks/a.png")
    assert (
        run(["predict", models["segment"], str(tmp_path / "masks"), "--save", str(tmp_path)]) == 2
    )
    assert "would replace" in capsys.readouterr().err


def test_folder_as_a_stream(
    photos: Path, models: dict[str, str], tmp_path: Path, capsys: Captured
) -> None:
    source = ("--source", photos, "--save", tmp_path / "out")
    document = read_json(capsys, "predict", models["classify"], *source)
    assert (document["source"], document["frames"]) == (str(photos), 2)
    assert document["frames_per_second"] > 0
    assert [answer["image"] for answer in document["answers"]] == [
        str(photos / f"{n}.png") for n in "ab"
    ]
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["000001_a.jpg", "000002_b.jpg"]
    assert run(["predict", models["segment"], "--source", str(photos), "--max-frames", "1"]) == 0
    assert capsys.readouterr().out.endswith("1 frame\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "takes images, or one --source"),
        (["{photos}", "--source", "{photos}"], "takes images, or one --source"),
        (["--source", "{photos}/none.mp4"], "no such folder, video or image"),
        (["{photos}", "--threshold", "0.5"], "without a list of scores"),
        (["{photos}", "--threshold", "2"], "--threshold"),
    ],
)
def test_faults_are_one_line(
    arguments: list[str], words: str, photos: Path, models: dict[str, str], capsys: Captured
) -> None:
    filled = [a.format(photos=photos) for a in arguments]
    assert run(["predict", models["segment"], *filled]) == 2
    (line,) = (row for row in capsys.readouterr().err.splitlines() if row.startswith("error:"))
    assert words in line


def test_evaluation_of_masks(tmp_path: Path, models: dict[str, str], capsys: Captured) -> None:
    for part in ("train", "val"):
        for name in ("images", "masks"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
        Image.new("RGB", (9, 7)).save(tmp_path / f"data/{part}/images/a.png")
        Image.new("L", (9, 7), 0).save(tmp_path / f"data/{part}/masks/a.png")
    arguments = ["evaluate", models["segment"], "--data", str(tmp_path / "data")]
    document = read_json(capsys, *arguments)
    assert (document["samples"], document["pixel_accuracy"]) == (1, 1)
    assert any("val part" in note for note in document["notes"])
    assert run([*arguments, "--part", "train"]) == 0
    out = capsys.readouterr().out
    assert "mean IoU" in out
    assert "background" in out

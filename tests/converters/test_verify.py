from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevision.cli.app import run as run_command
from edgevision.contract import Contract, Preprocessing
from edgevision.converters import verify_sides
from edgevision.converters.convert import convert
from edgevision.converters.verify import verify
from edgevision.errors import DataError, DelegateError, InvalidConfigError
from edgevision.graph.contracts import write_contract
from edgevision.runtime.sessions import open_session
from edgevision.specs import Task

NUM_IMAGES = 7

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(1)
    for index in range(NUM_IMAGES):
        pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(folder / f"{index}.png")
    return folder


def copy_with(source: Path, target: Path, **fields: Any) -> Path:
    contract = Contract(task=Task.CLASSIFY, preprocessing=Preprocessing(mean=(127.5,)))
    write_contract(source, replace(contract, **fields), target)
    return target


def test_two_formats_agree(models: Path, photographs: Path, tmp_path: Path) -> None:
    other = convert(models / "tiny.tflite", tmp_path / "m.onnx", layout="nchw").output

    result = verify(models / "tiny.tflite", other, data=photographs, min_agreement=1.0)

    assert (result.top1_agreement, result.samples, result.passed) == (1.0, NUM_IMAGES, True)
    assert result.max_abs_error < 1e-5
    assert result.sqnr_db > 80
    assert result.warnings == ()
    assert len(result.worst) == NUM_IMAGES
    errors = [image.max_abs_error for image in result.worst]
    assert errors == sorted(errors, reverse=True)


def test_a_keras_file_borrows_the_contract(models: Path, photographs: Path) -> None:
    result = verify(models / "tiny.keras", models / "tiny.tflite", data=photographs)

    assert result.max_abs_error < 1e-5
    assert any("tiny.keras carries no contract" in text for text in result.warnings)


def test_different_preprocessing_is_told_and_shows(
    models: Path, photographs: Path, tmp_path: Path
) -> None:
    source = models / "tiny.tflite"
    other = copy_with(
        source, tmp_path / "m.tflite", preprocessing=Preprocessing(mean=(0.0,), std=(1.0,))
    )

    result = verify(source, other, data=photographs, min_agreement=1.0)

    assert [text for text in result.warnings if "mean" in text]
    assert result.max_abs_error > 0.01


def test_one_mean_equals_three(models: Path, photographs: Path, tmp_path: Path) -> None:
    same = Preprocessing(mean=(127.5, 127.5, 127.5), std=(127.5,))
    other = copy_with(models / "tiny.tflite", tmp_path / "m.tflite", preprocessing=same)

    assert verify(models / "tiny.tflite", other, data=photographs).warnings == ()


def test_limit_takes_images_from_the_whole_folder(models: Path, photographs: Path) -> None:
    result = verify(models / "tiny.tflite", models / "tiny.tflite", data=photographs, limit=3)

    assert sorted(image.file.name for image in result.worst) == ["0.png", "2.png", "4.png"]


def test_a_missed_gate_is_a_result_and_no_error(
    models: Path, photographs: Path, tmp_path: Path
) -> None:
    flipped = Preprocessing(mean=(0.0,), std=(0.01,))
    other = copy_with(models / "tiny.tflite", tmp_path / "m.tflite", preprocessing=flipped)

    result = verify(models / "tiny.tflite", other, data=photographs, min_agreement=1.0)

    if result.top1_agreement < 1:
        assert not result.passed
        assert "100.0% was asked for" in result.failure
    document = result.to_dict()
    assert document["passed"] is result.passed
    assert document["worst"][0]["file"].endswith(".png")


def test_labels_must_agree(models: Path, photographs: Path, tmp_path: Path) -> None:
    source = models / "tiny.tflite"
    first = copy_with(source, tmp_path / "a.tflite", labels=tuple("abcde"))
    second = copy_with(source, tmp_path / "b.tflite", labels=tuple("abxde"))

    with pytest.raises(InvalidConfigError, match="class 2: c and x"):
        verify(first, second, data=photographs)


def test_two_tasks_are_not_compared(models: Path, photographs: Path, tmp_path: Path) -> None:
    other = copy_with(models / "tiny.tflite", tmp_path / "m.tflite", task=Task.SEGMENT)

    with pytest.raises(InvalidConfigError, match="classify and segment"):
        verify(models / "tiny.tflite", other, data=photographs)


def test_wrong_arguments_are_refused(models: Path, photographs: Path, tmp_path: Path) -> None:
    model = models / "tiny.tflite"
    with pytest.raises(InvalidConfigError, match=r"min_agreement=1\.5"):
        verify(model, model, data=photographs, min_agreement=1.5)
    with pytest.raises(InvalidConfigError, match="limit=0"):
        verify(model, model, data=photographs, limit=0)
    with pytest.raises(DataError):
        verify(model, model, data=tmp_path)
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        verify(model, model, data=tmp_path)


def test_broken_images_are_skipped_where_that_is_asked_for(
    models: Path, photographs: Path, tmp_path: Path
) -> None:
    model, folder = models / "tiny.tflite", tmp_path / "photos"
    shutil.copytree(photographs, folder)
    (folder / "broken.png").write_text("no image")

    with pytest.raises(DataError, match=r"broken\.png"):
        verify(model, model, data=folder)
    result = verify(model, model, data=folder, skip_broken=True)

    assert result.samples == NUM_IMAGES
    assert [w for w in result.warnings if "left out" in w and "broken.png" in w]
    assert len(result.worst) == NUM_IMAGES


def test_the_command_skips_broken_images(
    models: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = str(models / "tiny.tflite"), tmp_path / "photos"
    shutil.copytree(photographs, folder)
    (folder / "broken.png").write_text("no image")
    command = ["verify", model, model, "--data", str(folder), "--json"]

    assert run_command(command) == 2
    assert "broken.png" in capsys.readouterr().err
    assert run_command([*command, "--skip-broken"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["samples"] == NUM_IMAGES
    assert any("broken.png" in text for text in document["warnings"])


def test_a_folder_of_nothing_but_broken_images_is_an_error(models: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    model = models / "tiny.tflite"

    with pytest.raises(DataError, match=r"no image can be read.*broken\.png"):
        verify(model, model, data=tmp_path, skip_broken=True)


def test_the_parity_check_skips_broken_images_too(
    models: Path, photographs: Path, tmp_path: Path
) -> None:
    model, folder, output = models / "tiny.tflite", tmp_path / "photos", tmp_path / "m.tflite"
    shutil.copytree(photographs, folder)
    (folder / "broken.png").write_text("no image")

    with pytest.raises(DataError, match=r"broken\.png"):
        convert(model, output, parity_data=folder)
    assert not output.exists()
    result = convert(model, output, parity_data=folder, skip_broken=True)

    assert result.parity.samples == NUM_IMAGES
    assert [w for w in result.warnings if "left out" in w and "broken.png" in w]


def test_the_candidate_alone_runs_on_the_device(
    models: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_recorded(path: Path, **options: Any) -> Any:
        opened.append((options["device"], options["gpu_float32"]))
        return open_session(path)

    monkeypatch.setattr(verify_sides, "open_session", open_recorded)
    file = models / "tiny.tflite"
    verify(file, file, data=photographs, device="gpu", gpu_float32=True, limit=1)
    assert opened == [("cpu", False), ("gpu", True)]


def test_a_keras_candidate_runs_on_no_device(models: Path, photographs: Path) -> None:
    with pytest.raises(DelegateError, match="edgevision convert"):
        verify(models / "tiny.tflite", models / "tiny.keras", data=photographs, device="gpu")

"""Exit codes and streams: what scripts that call the command line rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgevision import errors
from edgevision.cli import command, doctor
from edgevision.cli.app import run
from edgevision.cli.demo import create_folder
from edgevision.cli.predict import name_pictures
from edgevision.cli.terminal import Terminal, create_table
from edgevision.specs import Task
from edgevision.training.config import TrainingOptions, plan_training
from edgevision.training.results import TrainingResult
from edgevision.training.runs import RunStatus

Captured = pytest.CaptureFixture[str]


def error_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]


def test_version(capsys: Captured) -> None:
    from edgevision import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgevision {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["profile"],
        ["profile", "a", "b"],
        ["profile", "mobilenet_v1", "--alpha", "wide"],
        ["profile", "no_such_net"],
        ["profile", "missing.tflite"],
        ["profile", "mobilenet_v2", "--alpha", "-1"],
        ["profile", "mobilenet_v2", "--input-size", "7"],
        ["profile", "mobilenet_v2", "--input-size", "axb"],
        ["models", "--task", "sing"],
        ["benchmark", "missing.tflite", "--device", "toaster"],
        ["benchmark", "missing.tflite", "--threads", "0"],
        ["build", "mobilenet_v2", "--classes", "0", "-o", "out.keras"],
        ["build", "mobilenet_v2", "-o", "out.tflite"],
        ["predict", "missing.tflite", "missing.jpg"],
        ["convert", "missing.keras", "-o", "out.tflite", "--mean", "x"],
        ["predict", "missing.tflite", ""],
        ["predict", "missing.tflite", "missing.jpg", "--threshold", "nan"],
        ["benchmark", "missing.tflite", "--seconds", "inf"],
        ["demo", "--seed", "-1"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(error_lines(captured.err)) == 1
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def fail_with(error: BaseException) -> Callable[[], list[object]]:
    def fail() -> list[object]:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (errors.DataError("no images", received="dir"), 2, "error: no images (dir)"),
        (errors.QualityGateError("too far"), 1, "failed: too far"),
        (OSError(28, "No space left on device"), 2, "No space left"),
        (MemoryError(), 2, "not enough memory"),
        (ZeroDivisionError("division by zero"), 2, "this is a bug"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures_become_exit_codes(
    error: BaseException, code: int, word: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevision.runtime.doctor.inspect_parts", fail_with(error))
    assert run(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert word in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "m.tflite", ""], "an argument is empty (argument 3 of 3)"),
        (["benchmark", "m.tflite", "--seconds", "nan"], "a number is needed (--seconds nan)"),
        (["quantize", "m", "-o", "q", "--max-drop", "inf"], "a number is needed (--max-drop inf)"),
    ],
)
def test_what_is_no_value_is_named(arguments: list[str], words: str, capsys: Captured) -> None:
    assert run(arguments) == 2
    assert words in capsys.readouterr().err


def test_memory_that_tensorflow_misses_is_no_bug(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortage = type("ResourceExhaustedError", (Exception,), {})("OOM when allocating a tensor")
    monkeypatch.setattr("edgevision.runtime.doctor.inspect_parts", fail_with(shortage))
    assert run(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("error: not enough memory: ")


def test_json_of_an_error_is_one_document(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = fail_with(errors.QualityGateError("too far"))
    monkeypatch.setattr("edgevision.runtime.doctor.inspect_parts", gate)
    assert run(["doctor", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": "too far", "passed": False}


def test_debug_shows_the_traceback(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgevision.runtime.doctor.inspect_parts", fail_with(errors.DataError("no images"))
    )
    assert run(["doctor", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_json_is_the_only_thing_on_stdout(capsys: Captured) -> None:
    assert run(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    for part in document["parts"]:
        assert set(part) >= {"name", "status", "version", "remedy"}
        assert part["status"] in doctor._STYLES


def test_models_as_json(capsys: Captured) -> None:
    assert run(["models", "--task", "classify", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    assert {"mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"} <= {m["name"] for m in models}
    for model in models:
        assert set(model) >= {"name", "task", "input_size", "macs", "params"}


def test_every_command_has_the_shared_options(capsys: Captured) -> None:
    run(["--help"])
    page = capsys.readouterr().out
    names = "models build train convert quantize verify profile evaluate benchmark explain predict"
    for name in (*names.split(), "doctor", "demo"):
        assert f" {name} " in page
        assert run([name, "--help"]) == 0
        helped = capsys.readouterr().out
        assert "--json" in helped
        assert "--debug" in helped


def test_exit_codes_are_those_of_the_documentation() -> None:
    codes = command.EXIT_DONE, command.EXIT_GATE, command.EXIT_BAD_INPUT, command.EXIT_INTERRUPTED
    assert codes == (0, 1, 2, 130)


FULL = Path("/dev/full")
RUN = "import sys; from edgevision.cli.app import run; sys.exit(run(sys.argv[1:]))"


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_disk_behind_stdout_is_one_line(options: list[str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", RUN, "models", *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left on device")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_failure(options: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", RUN, "models", *options],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_demo_folders_are_numbered_and_never_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [create_folder(None).name for _ in range(3)]
    assert names == ["edgevision-demo", "edgevision-demo-2", "edgevision-demo-3"]
    with pytest.raises(errors.OutputError, match="exists"):
        create_folder(tmp_path / "edgevision-demo")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(errors.OutputError, match="can not be created"):
        create_folder(tmp_path / "file" / "demo")


def test_an_interrupted_demo_leaves_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevision.data.scenes.write_dataset", interrupt)
    assert run(["demo", "-o", str(tmp_path / "demo")]) == 130
    assert not list(tmp_path.iterdir())


def interrupt(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_training_tells_how_to_go_on(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = TrainingResult(
        run_dir=Path("run"),
        model_path=Path("run/model.keras"),
        metrics={"val_accuracy": 0.5},
        epochs=1,
        head_epochs=0,
        best_phase="train network",
        best_epoch=1,
        labels=("a", "b"),
        status=RunStatus.INTERRUPTED,
    )
    monkeypatch.setattr("edgevision.training.train.train", lambda *_, **__: result)
    assert run(["train", "mobilenet_v1", "--data", "photos", "-o", "run"]) == 130
    assert "--resume goes on" in capsys.readouterr().err


def test_brackets_in_names_are_text(capsys: Captured) -> None:
    terminal = Terminal()
    table = create_table("label", left=(0,))
    table.add_row("[red]fox[/red]")
    terminal.finish([], lambda console: console.print(table))
    terminal.note("class [a] and [/b]")
    captured = capsys.readouterr()
    assert "[red]fox[/red]" in captured.out
    assert captured.err == "note: class [a] and [/b]\n"


def test_pictures_never_replace_each_other_or_an_image(tmp_path: Path) -> None:
    images = [tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg", tmp_path / "a" / "1.jpeg"]
    names = [path.name for path in name_pictures(images, tmp_path / "out")]
    assert names == ["a_1.png", "b_1.png", "a_1_2.png"]
    with pytest.raises(errors.InvalidConfigError, match="would replace"):
        name_pictures([tmp_path / "photo.png"], tmp_path)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("mobilenet_v1", Task.CLASSIFY),
        ("ssd_mobilenet_v1", Task.DETECT),
        ("unet_mobilenet_v1", Task.SEGMENT),
    ],
)
def test_training_options_default_to_those_of_the_task(
    name: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def train(network: str, **options: Any) -> None:
        given.update(options, name=network)
        raise errors.DataError("seen enough")

    monkeypatch.setattr("edgevision.training.train.train", train)
    assert run(["train", name, "--data", "photos", "-o", "run"]) == 2
    assert given["name"] == name
    assert given["resume"] is False
    assert given["skip_broken"] is False
    # What nobody chose is not handed on: the task decides.
    chosen = {
        option: given[option] for option in given.keys() & set(TrainingOptions.__annotations__)
    }
    assert plan_training(task, name, chosen) == plan_training(task, name, {})


def test_options_that_were_chosen_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def train(_: str, **options: Any) -> None:
        given.update(options)
        raise errors.DataError("seen enough")

    monkeypatch.setattr("edgevision.training.train.train", train)
    arguments = ["train", "unet_mobilenet_v1", "--data", "photos", "-o", "run"]
    arguments += ["--epochs", "0", "--no-augment", "--dice-weight", "0", "--ignore-index", "7"]
    assert run([*arguments, "--input-size", "64x48", "--weights", "imagenet"]) == 2
    expected = {
        "epochs": 0,
        "augment": False,
        "dice_weight": 0.0,
        "ignore_index": 7,
        "input_size": (64, 48),
        "weights": "imagenet",
    }
    assert {name: given[name] for name in expected} == expected

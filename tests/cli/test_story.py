from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from edgevision.cli.app import run
from edgevision.cli.side_by_side import compose_command
from edgevision.cli.story import ALPHA, CHAPTERS, DATA, Chapter, ChapterPaths
from edgevision.data.scenes import write_dataset
from edgevision.errors import DataError
from edgevision.models.registry import configure, get_spec
from edgevision.specs import Task
from edgevision.training.config import plan_training

FOLDER = Path("demo")

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)


def test_every_task_has_a_chapter_and_the_first_trains_the_backbone() -> None:
    assert [chapter.task for chapter in CHAPTERS] == list(Task)
    backbone = CHAPTERS[0].network
    assert all(chapter.network.endswith(backbone) for chapter in CHAPTERS)


@each_chapter
def test_training_options_are_those_of_the_task(chapter: Chapter) -> None:
    assert get_spec(chapter.network).task is chapter.task
    # All but the first are trained on its backbone.
    weights = None if chapter is CHAPTERS[0] else "model.keras"
    options = {"alpha": ALPHA, "weights": weights, **chapter.training}
    config = plan_training(chapter.task, chapter.network, options)
    configure(chapter.network, alpha=config.alpha, input_size=config.input_size)
    assert 0 < chapter.max_drop < chapter.min_score < 1


@each_chapter
def test_the_command_line_passes_on_the_same_options(
    chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def train(name: str, **options: Any) -> None:
        given.update(options, name=name)
        raise DataError("seen enough")

    monkeypatch.setattr("edgevision.training.train.train", train)
    paths = ChapterPaths(folder=FOLDER, chapter=chapter)
    command = compose_command(paths, Path("model.keras"), 5)
    assert command[1:3] == ["-m", "edgevision"]
    assert run(command[3:]) == 2
    size = (chapter.training["input_size"],) * 2
    expected = {**chapter.training, "input_size": size, "alpha": ALPHA, "seed": 5}
    expected |= {"name": chapter.network, "data": paths.train_data, "output": paths.run}
    expected["weights"] = "model.keras"
    assert {name: given[name] for name in expected} == expected


def test_no_two_chapters_write_the_same_file() -> None:
    chapters = [ChapterPaths(folder=FOLDER, chapter=chapter) for chapter in CHAPTERS]
    written = [p for paths in chapters for p in (paths.run, *paths.models, paths.pictures)]
    assert len(set(written)) == 5 * len(CHAPTERS)
    assert all(path.is_relative_to(FOLDER) for path in written)
    for paths in chapters:
        assert paths.keras_model.parent == paths.run
        assert [path.suffix for path in paths.models] == [".tflite", ".tflite", ".onnx"]


@each_chapter
def test_where_the_images_are(chapter: Chapter) -> None:
    paths = ChapterPaths(folder=FOLDER, chapter=chapter)
    assert (paths.photos, paths.unseen) == (paths.data / "train", paths.data / "val")
    parted = chapter.task is Task.CLASSIFY
    assert paths.train_data == (paths.photos if parted else paths.data)
    assert paths.val_data == (paths.unseen if parted else paths.data)


def test_every_chapter_has_the_data_that_it_needs() -> None:
    plans = {plan.name: plan.options for plan in DATA}
    assert {chapter.data for chapter in CHAPTERS} == plans.keys()
    for options in plans.values():
        signature(write_dataset).bind(FOLDER, **options)
    assert all(plans[c.data]["masks"] for c in CHAPTERS if c.task is Task.SEGMENT)

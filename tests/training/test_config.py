from __future__ import annotations

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.specs import Task
from edgevision.training.config import TrainingConfig, TrainingOptions, plan_training


def test_round_trips_through_json_values() -> None:
    config = TrainingConfig(name="mobilenet_v1", input_size=(96, 64), weights="w.h5", mixup=0.2)
    assert TrainingConfig.from_dict(config.to_dict()) == config


def test_one_number_is_a_square() -> None:
    values = {"name": "mobilenet_v1", "input_size": 96}
    assert TrainingConfig.from_dict(values).input_size == (96, 96)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("head_epochs", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("fine_tune_learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("label_smoothing", 1.0),
        ("mixup", -0.1),
        ("val_fraction", 0.0),
        ("val_fraction", 1.0),
        ("dropout", 1.0),
        ("input_size", (1, 2, 3)),
        ("alpha", 0.0),
        ("seed", -1),
        ("box_loss", "hinge"),
        ("upsampling", "magic"),
        ("dice_weight", -1.0),
        ("ignore_index", -1),
    ],
)
def test_names_the_option_that_is_out_of_range(option: str, value: object) -> None:
    with pytest.raises(InvalidConfigError, match=option.replace("fine_tune_", "")):
        TrainingConfig.from_dict({"name": "mobilenet_v1", option: value})


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidConfigError, match=r"lerning_rate.*learning_rate"):
        TrainingConfig.from_dict({"name": "mobilenet_v1", "lerning_rate": 1.0})


def test_the_options_are_the_fields() -> None:
    assert {"name", *TrainingOptions.__annotations__} == set(TrainingConfig(name="n").to_dict())


def test_a_head_is_trained_first_only_on_trained_weights() -> None:
    assert TrainingConfig(name="n", weights="w.h5").has_head_phase
    assert not TrainingConfig(name="n").has_head_phase
    assert not TrainingConfig(name="n", weights="w.h5", head_epochs=0).has_head_phase


def test_without_epochs_of_the_whole_network_there_must_be_a_head_phase() -> None:
    assert TrainingConfig(name="n", weights="w.h5", epochs=0).epochs == 0
    with pytest.raises(InvalidConfigError, match=r"epochs=0, weights=None.*--weights"):
        TrainingConfig(name="n", epochs=0)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        (Task.DETECT, {"mixup": 0.2}),
        (Task.DETECT, {"class_weights": True}),
        (Task.SEGMENT, {"box_loss": "focal"}),
        (Task.SEGMENT, {"label_smoothing": 0.1}),
        (Task.CLASSIFY, {"dice_weight": 1.0}),
        (Task.CLASSIFY, {"ignore_index": 3}),
    ],
)
def test_an_option_of_another_task_is_refused(task: Task, options: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigError, match=next(iter(options))):
        plan_training(task, "n", options)


def test_every_task_has_its_defaults_and_they_can_be_changed() -> None:
    plain = plan_training(Task.SEGMENT, "n", {})
    assert plain.batch_size < TrainingConfig(name="n").batch_size
    assert plan_training(Task.SEGMENT, "n", {"batch_size": 3}).batch_size == 3

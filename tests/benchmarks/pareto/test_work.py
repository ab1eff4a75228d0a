from __future__ import annotations

from pathlib import Path

from played_sweep import Stage

from edgevision.benchmarks.pareto.children import Children
from edgevision.benchmarks.pareto.sweep import GridPoint, SweepSettings
from edgevision.benchmarks.pareto.work import PointWork, list_stages, run_point

POINT = GridPoint(name="mobilenet_v1", alpha=0.25, input_size=(32, 48))


def make_work(folder: Path, **settings: object) -> PointWork:
    return PointWork(
        point=POINT,
        settings=SweepSettings(data="photos", **settings),  # type: ignore[arg-type]
        folder=folder,
    )


def test_stages_say_everything_to_the_commands(tmp_path: Path) -> None:
    settings = {"val_data": "val", "weights": "imagenet", "seed": 3, "training": {"head_epochs": 2}}
    stages = list_stages(make_work(tmp_path, **settings, skip_broken=True))
    text = " ".join(stages["train"])
    assert "train mobilenet_v1 --data photos --val-data val" in text
    assert "--resume --alpha 0.25 --input-size 32x48 --weights imagenet --seed 3" in text
    assert text.endswith("--skip-broken --head-epochs 2")
    assert "--calibration photos" in " ".join(stages["quantize"])
    assert stages["accuracy"][2:4] == ["--data", "val"]
    assert list_stages(make_work(tmp_path))["accuracy"][2:4] == ["--data", "photos"]


def test_a_point_is_made(tmp_path: Path, stage: Stage) -> None:
    record = run_point(make_work(tmp_path), Children(threads=1))
    assert [command[0] for command in stage.commands] == [
        "train",
        "convert",
        "quantize",
        "evaluate",
        "evaluate",
    ]
    assert record["status"] == "ok"
    assert record["accuracy"] == {"top1": 0.5, "top5": 1.0}
    assert record["file_bytes"] == (tmp_path / "int8.tflite").stat().st_size
    assert record["point"] == POINT.to_dict()


def test_a_failure_is_a_record(tmp_path: Path, stage: Stage) -> None:
    stage.broken.add("mobilenet_v1")
    record = run_point(make_work(tmp_path), Children(threads=1))
    assert (record["status"], record["stage"]) == ("failed", "train")
    assert record["reason"] == "it was killed by SIGKILL"
    assert len(stage.commands) == 1

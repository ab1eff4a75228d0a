from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from crashing import FragileStation, crash
from PIL import Image
from tiny_models import build_segmenter

from edgevision.benchmarks import latency
from edgevision.benchmarks.benchmark import BenchmarkReport, benchmark
from edgevision.benchmarks.environment import describe_environment
from edgevision.benchmarks.report.figures import choose_columns, explain_columns
from edgevision.benchmarks.report.markdown import render_markdown
from edgevision.benchmarks.report.page import Check, render_page
from edgevision.benchmarks.report.writer import write_report
from edgevision.errors import DataError, InvalidConfigError, MissingFileError
from edgevision.runtime.session import Adapter
from edgevision.specs import Device


@pytest.fixture(scope="module")
def report(tiny_tflite: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkReport:
    """Two devices, one of which is not there, and accuracy on six noise images."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (data / name).mkdir()
        for number in range(2):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "BLOCK_SECONDS", 0.002)
        return benchmark(
            [tiny_tflite],
            devices=("cpu", "edgetpu"),
            threads=(1,),
            data=data,
            seconds=0.01,
            per_op=True,
        )


def test_rows_carry_the_promised_keys(report: BenchmarkReport) -> None:
    row, missing = report.to_dict()["rows"]
    promised = (
        "file device threads status reason latency_ms macs params file_bytes peak_memory_bytes "
        "accuracy delegated_ops total_ops partitions"
    )
    assert set(row) >= set(promised.split())
    assert set(row) == set(missing)
    assert set(row["latency_ms"]) >= {"p50", "p90", "mean", "n"}
    assert row["latency_ms"]["n"] >= 20
    assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p90"]


def test_row_of_a_model_that_runs(report: BenchmarkReport, tiny_tflite: Path) -> None:
    row = report.to_dict()["rows"][0]
    assert (row["status"], row["reason"], row["threads"]) == ("ok", "", 1)
    assert row["file_bytes"] == tiny_tflite.stat().st_size
    assert row["peak_memory_bytes"] > 0
    assert 0 < row["delegated_ops"] <= row["total_ops"]
    assert row["accuracy"]["samples"] == 6
    assert 0 <= row["accuracy"]["top1"] <= 1


def test_missing_device_is_a_row_that_says_so(report: BenchmarkReport) -> None:
    row = report.to_dict()["rows"][1]
    assert (row["device"], row["status"]) == ("edgetpu", "unavailable")
    assert "edgetpu" in row["reason"]
    assert row["latency_ms"] is None
    assert row["accuracy"] is None


def test_file_that_kills_the_interpreter_is_a_failed_row(
    tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevision.benchmarks.benchmark.Station", crash)
    rows = benchmark([tiny_tflite], seconds=0.01).to_dict()["rows"]
    assert rows[0]["status"] == "failed"
    assert "SIGSEGV" in rows[0]["reason"]


@pytest.mark.parametrize("software", [True, False])
def test_software_is_marked_and_not_plotted(report: BenchmarkReport, software: bool) -> None:
    row = report.rows[0]
    assert row.probe is not None
    adapter = Adapter(name="Chip", kind="k", api="Vulkan", precision="float16", software=software)
    placement = replace(row.probe.placement, adapter=adapter, note="ran on Chip <1>")
    row = replace(row, device=Device.GPU, probe=replace(row.probe, placement=placement))
    report = replace(report, rows=(row,))
    columns = choose_columns(report.rows)
    assert columns["precision"] == ["float16"]
    assert columns["device"] == ["gpu (software)" if software else "gpu"]
    assert row.to_dict()["adapter"]["precision"] == "float16"
    assert row.to_dict()["software"] is software
    page = render_page(report, title="t")
    assert ("<h2>Latency</h2>" in page) is not software
    assert "on gpu: ran on Chip &lt;1&gt;" in page
    assert "on gpu: ran on Chip <1>" in render_markdown(report, title="t")


def test_model_that_crashes_while_it_is_timed_leaves_the_others(
    tiny_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = tmp_path / "fragile.tflite"
    twin.write_bytes(tiny_tflite.read_bytes())
    monkeypatch.setattr("edgevision.benchmarks.benchmark.Station", FragileStation)
    rows = benchmark([tiny_tflite, twin], seconds=0.01).to_dict()["rows"]
    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert "SIGSEGV" in rows[1]["reason"]
    assert rows[0]["latency_ms"]["n"] >= 20
    assert rows[1]["latency_ms"] is None


def test_times_around_the_network_are_told_apart(report: BenchmarkReport) -> None:
    row = report.to_dict()["rows"][0]
    assert row["steps_ms"]["preprocess"] > 0
    assert row["steps_ms"]["postprocess"] > 0
    assert row["open_ms"] > 0
    assert row["latency_ms"]["first"] > 0
    assert row["relative"]["value"] == 1


def test_conditions_are_noted(report: BenchmarkReport) -> None:
    conditions = report.to_dict()["conditions"]
    assert conditions["seconds"] > 0
    assert {"before", "after"} <= set(conditions)


def test_columns_without_figures_are_left_out(report: BenchmarkReport) -> None:
    assert "top-1" in choose_columns(report.rows)
    assert "top-1" not in choose_columns(report.rows[1:])
    assert "p50" not in choose_columns(report.rows[1:])


def test_each_task_has_its_figures(report: BenchmarkReport) -> None:
    row = report.rows[0]
    rows = [
        replace(row, accuracy={"map": 0.25, "map50": 0.5, "map75": 0.2}),
        replace(row, accuracy={"mean_iou": 0.75, "pixel_accuracy": 0.9, "mean_dice": 0.8}),
    ]
    columns = choose_columns(rows)
    assert (columns["mAP"], columns["mAP50"]) == (["25.0 %", "–"], ["50.0 %", "–"])
    assert columns["mIoU"] == ["–", "75.0 %"]
    assert "top-1" not in columns
    told = [names for names, _ in explain_columns(columns)]
    assert {"mAP", "mIoU"} <= set(told)
    assert "mAP" not in [names for names, _ in explain_columns(choose_columns(report.rows))]


def test_markdown_has_a_line_per_row(report: BenchmarkReport) -> None:
    lines = render_markdown(report, title="Bench").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(report.rows)
    assert len({line.count("|") for line in table}) == 1
    assert any("edgetpu" in line and "not" in line for line in lines if line.startswith("- "))


def test_times_of_operations_are_on_the_row(report: BenchmarkReport) -> None:
    row, missing = report.to_dict()["rows"]
    assert len(row["per_op"]["ops"]) == row["total_ops"]
    assert missing["per_op"] is None


def test_page_shows_operations_and_memory(report: BenchmarkReport) -> None:
    page = render_page(report, title="Bench")
    assert "Where the time goes" in page
    assert "Activation memory" in page
    assert "DEPTHWISE_CONV_2D" in page


@pytest.mark.parametrize("width", [500, 1200])
def test_page_is_no_wider_than_the_screen(
    report: BenchmarkReport, width: int, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium renders the page here")
    tell = "<script>document.title = document.documentElement.scrollWidth</script></body>"
    path = tmp_path / "report.html"
    path.write_text(render_page(report, title="Bench").replace("</body>", tell))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, f"--window-size={width},800", path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    shown = re.search(r"<title>(\d+)</title>", done.stdout)
    assert shown is not None
    assert int(shown.group(1)) <= width


def test_page_needs_nothing_else(report: BenchmarkReport) -> None:
    check = Check(name="agreement <int8>", figure="99.0 %", passed=False)
    page = render_page(report, title="Bench & more", checks=(check,))
    assert "Bench &amp; more" in page
    assert "agreement &lt;int8&gt;" in page
    assert 'class="bad"' in page
    assert not [word for word in ("src=", "href=", "@import", "url(") if word in page]


def test_written_report(report: BenchmarkReport, tmp_path: Path) -> None:
    written = write_report(report, tmp_path / "out")
    assert sorted(Path(path).name for path in written.values()) == [
        "report.csv",
        "report.html",
        "report.json",
        "report.md",
    ]
    assert all(Path(path).stat().st_size > 0 for path in written.values())


def test_file_without_accuracy_keeps_its_other_figures(
    tiny_tflite: Path, report: BenchmarkReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = tmp_path / "segmenter.tflite"
    segmenter.write_bytes(build_segmenter())
    rows = benchmark([tiny_tflite, segmenter], data=report.data, seconds=0.01).to_dict()["rows"]
    assert rows[0]["accuracy"]["samples"] == 6
    assert rows[1]["accuracy"] is None
    assert rows[1]["latency_ms"]["n"] >= 20
    assert rows[1]["reason"].startswith("no accuracy: ")


def test_wrong_data_is_refused_before_anything_runs(tiny_tflite: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        benchmark([tiny_tflite], data=tmp_path / "none", progress=fail_on_progress)


def test_missing_images_of_a_table_can_be_skipped(
    tiny_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "here.png")
    (tmp_path / "labels.csv").write_text("file,label\nhere.png,2\ngone.png,0\n")
    with pytest.raises(DataError, match=r"gone\.png"):
        benchmark([tiny_tflite], data=tmp_path, progress=fail_on_progress)
    rows = benchmark([tiny_tflite], data=tmp_path, seconds=0.01, skip_broken=True).rows
    assert rows[0].accuracy["samples"] == 1


def fail_on_progress(stage: str, _done: int, _total: int) -> None:
    pytest.fail(f"{stage} began")


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="nothing to measure"):
        benchmark([])


def test_unknown_device_is_refused_before_anything_runs(tiny_tflite: Path) -> None:
    with pytest.raises(InvalidConfigError, match="toaster"):
        benchmark([tiny_tflite], devices=("toaster",))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        benchmark([tmp_path / "none.tflite"])


def test_environment_tells_machine_and_software() -> None:
    facts = describe_environment()
    assert {"time", "system", "machine", "cores", "python", "packages"} <= set(facts)
    assert facts["packages"]["edgevision"]

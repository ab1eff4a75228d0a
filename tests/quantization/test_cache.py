from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgevision.contract import Preprocessing
from edgevision.data.preprocess import Preprocessor
from edgevision.quantization import cache as module
from edgevision.quantization.cache import CalibrationCache, find_cache_folder
from edgevision.quantization.calibrate import Calibration, calibrate
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.quantize import quantize
from edgevision.quantization.source import open_source

PLAIN = Preprocessing()


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORTH_SECONDS", 0.0)


class Run:
    """One calibration with a cache."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        photos: Path,
        *,
        preprocessing: Preprocessing = PLAIN,
        skip_broken: bool = False,
        max_bytes: int = 2**20,
    ) -> None:
        source = open_source(model, {})
        preprocessor = Preprocessor(preprocessing, source.graph.input_specs()[0])
        self.images = CalibrationImages(photos, preprocessor, skip_broken=skip_broken)
        self.cache = CalibrationCache(
            folder, source.data, self.images, preprocessing=preprocessing, max_bytes=max_bytes
        )
        self.found = self.cache.load(self.images)
        self.source = source
        self.stored = False

    def measure(self) -> Calibration:
        batches = self.images.iterate(self.source.graph, 1)
        return calibrate(self.source.data, self.source.graph, batches)

    def store(self) -> Calibration:
        seen = self.measure()
        self.stored = self.cache.store(self.images, seen)
        return seen


def list_entries(folder: Path) -> list[Path]:
    return sorted((folder / "calibration").glob("*"))


@pytest.mark.parametrize(
    "preprocessing",
    [
        PLAIN,
        Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), color="bgr"),
        Preprocessing(mean=(0,), std=(255,), color="gray"),
    ],
)
def test_what_was_measured_comes_back(
    preprocessing: Preprocessing, float_file: Path, photos: Path, tmp_path: Path
) -> None:
    first = Run(tmp_path, float_file, photos, preprocessing=preprocessing)
    assert first.found is None
    seen = first.store()
    assert first.stored
    again = Run(tmp_path, float_file, photos, preprocessing=preprocessing)
    assert again.found is not None
    assert list(again.found.ranges) == list(seen.ranges)
    for index, expected in seen.ranges.items():
        assert np.array_equal(again.found.ranges[index].low, expected.low)
        assert np.array_equal(again.found.ranges[index].high, expected.high)
    assert np.array_equal(again.found.lows, seen.lows)
    assert np.array_equal(again.found.highs, seen.highs)
    assert np.array_equal(again.images.kept, first.images.kept)
    assert again.images.kept.dtype == np.float32
    assert np.array_equal(again.images.hashes, first.images.hashes)
    assert again.images.has_contrast
    assert again.images.num_used == 24


def change_pixels(folder: Path) -> None:
    """Write another image of the same size and time."""
    files = sorted(folder.iterdir())
    state = files[0].stat()
    data = bytearray(files[0].read_bytes())
    data[-30] ^= 1
    files[0].write_bytes(data)
    os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns))


def remove_image(folder: Path) -> None:
    min(folder.iterdir()).unlink()


def swap_images(folder: Path) -> None:
    first, second = sorted(folder.iterdir())[:2]
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


@pytest.mark.parametrize("change", [change_pixels, remove_image, swap_images])
def test_other_images_are_another_entry(
    change: Callable[[Path], None], float_file: Path, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    Run(tmp_path, float_file, folder).store()
    change(folder)
    assert Run(tmp_path, float_file, folder).found is None


def test_names_and_times_do_not_matter(float_file: Path, photos: Path, tmp_path: Path) -> None:
    Run(tmp_path, float_file, photos).store()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for file in photos.iterdir():
        shutil.copyfile(file, folder / f"copy{file.name}")
    assert Run(tmp_path, float_file, folder).found is not None


def test_other_settings_are_another_entry(
    float_file: Path, tiny_tflite: Path, photos: Path, tmp_path: Path
) -> None:
    Run(tmp_path, float_file, photos).store()
    assert Run(tmp_path, tiny_tflite, photos).found is None
    other = Preprocessing(mean=(0,), std=(255,))
    assert Run(tmp_path, float_file, photos, preprocessing=other).found is None
    other = Preprocessing(resize="crop", crop_fraction=0.5)
    assert Run(tmp_path, float_file, photos, preprocessing=other).found is None


def test_an_image_that_changes_meanwhile_is_not_kept(
    float_file: Path, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    run = Run(tmp_path, float_file, folder)
    shutil.copyfile(max(folder.iterdir()), min(folder.iterdir()))
    os.utime(min(folder.iterdir()), ns=(0, 0))
    run.store()
    assert not run.stored
    assert not (tmp_path / "calibration").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"no archive" * 100,
        lambda data: data.replace(b"highs.npy", b"lower.npy"),
        lambda data: data[:3000] + bytes(b ^ 255 for b in data[3000:3100]) + data[3100:],
    ],
)
def test_damaged_entries_count_as_none(
    damage: Callable[[bytes], bytes], float_file: Path, photos: Path, tmp_path: Path
) -> None:
    Run(tmp_path, float_file, photos).store()
    (entry,) = list_entries(tmp_path)
    entry.write_bytes(damage(entry.read_bytes()))
    run = Run(tmp_path, float_file, photos)
    assert run.found is None
    assert run.images.hashes == []
    run.store()
    assert run.stored
    assert Run(tmp_path, float_file, photos).found is not None


def test_broken_images_are_remembered(float_file: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder)
    (folder / "05bad.png").write_text("no image")
    first = Run(tmp_path, float_file, folder, skip_broken=True)
    first.store()
    again = Run(tmp_path, float_file, folder, skip_broken=True)
    assert again.found is not None
    assert again.images.skipped == first.images.skipped != []
    assert Run(tmp_path, float_file, folder).found is None


def test_short_work_is_not_kept(
    float_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WORTH_SECONDS", 1000.0)
    run = Run(tmp_path, float_file, photos)
    run.store()
    assert not run.stored


def test_the_oldest_entries_go(float_file: Path, photos: Path, tmp_path: Path) -> None:
    Run(tmp_path, float_file, photos).store()
    (entry,) = list_entries(tmp_path)
    size = entry.stat().st_size
    old, used = (entry.with_name(f"{name}.npz") for name in ("old", "used"))
    for place, age in ((old, 200), (used, 100)):
        shutil.copyfile(entry, place)
        os.utime(place, (time.time() - age, time.time() - age))
    unfinished = entry.with_name(".half.npz")
    unfinished.write_bytes(b"")
    os.utime(unfinished, (1, 1))
    other = Preprocessing(mean=(0,), std=(255,))
    run = Run(
        tmp_path, float_file, photos, preprocessing=other, max_bytes=max(3 * size, 4 * 24 * 432)
    )
    run.store()
    assert run.stored
    assert used in list_entries(tmp_path)
    assert old not in list_entries(tmp_path)
    assert unfinished not in list_entries(tmp_path)
    assert len(list_entries(tmp_path)) == 3


def test_a_folder_that_can_not_be_written(float_file: Path, photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    run = Run(blocked, float_file, photos)
    assert run.found is None
    run.store()
    assert not run.stored
    assert blocked.read_text() == "in the way"


def test_many_at_once(float_file: Path, photos: Path, tmp_path: Path) -> None:
    def work(_: int) -> bool:
        run = Run(tmp_path, float_file, photos)
        if run.found is None:
            run.store()
        return run.stored or run.found is not None

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    assert len(list_entries(tmp_path)) == 1


def test_the_second_run_gives_the_same_file(
    float_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path / "cache"))
    told, files = [], []
    for keep in (True, True, False):
        output = tmp_path / "o.tflite"
        document = quantize(float_file, output, calibration=photos, cache=keep).to_dict()
        told.append(document["calibration"])
        files.append(output.read_bytes())
    assert [t.pop("cached") for t in told] == [False, True, False]
    assert told[0] == told[1] == told[2]
    assert files[0] == files[1] == files[2]


def test_where_results_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_cache_folder() == Path(os.environ["EDGEVISION_CACHE"])
    monkeypatch.delenv("EDGEVISION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_cache_folder() == tmp_path / "edgevision"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert find_cache_folder() == tmp_path / ".cache/edgevision"

    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", fail)
    assert find_cache_folder() is None


def test_another_version_is_another_entry(
    float_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run(tmp_path, float_file, photos).store()
    monkeypatch.setattr(module, "_PACKAGES", (*module._PACKAGES, "no-such-package"))
    assert Run(tmp_path, float_file, photos).found is None

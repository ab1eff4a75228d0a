from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.contract import Preprocessing
from edgevision.data.images import decode_image
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import DataError
from edgevision.specs import TensorSpec
from edgevision.training.pixels import Place, choose_place, load_pixels, normalize


def write_photos(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [folder / f"{i}.png" for i in range(count)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(file)
    return files


@pytest.mark.parametrize("limit", [1 << 20, 0])
def test_memory_and_disk_hold_the_same_pixels(tmp_path: Path, limit: int) -> None:
    files = write_photos(tmp_path, 3)
    done: list[int] = []
    store = load_pixels(
        files,
        preprocessing=Preprocessing(),
        size=(8, 8),
        folder=tmp_path,
        advance=done.append,
        memory_limit_bytes=limit,
    )
    want = np.asarray(Image.open(files[2]).resize((8, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(store.fetch(np.array([2, 0]))[0], want)
    assert sum(done) == len(store)
    assert not list(tmp_path.glob(".pixels*"))


def test_without_room_images_are_decoded_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_photos(tmp_path, 2)
    monkeypatch.setattr("edgevision.training.pixels.choose_place", lambda *_: Place.NOWHERE)
    store = load_pixels(files, preprocessing=Preprocessing(), size=(8, 8), folder=tmp_path)
    assert store.cached is None
    assert store.fetch(np.array([1, 0])).shape == (2, 8, 8, 3)


def test_the_place_depends_on_the_room(tmp_path: Path) -> None:
    assert choose_place(10, tmp_path, 10) is Place.MEMORY
    assert choose_place(11, tmp_path, 10) is Place.DISK
    assert choose_place(1 << 60, tmp_path, 10) is Place.NOWHERE


def test_all_broken_files_are_counted_and_named(tmp_path: Path) -> None:
    files = write_photos(tmp_path, 3)
    for file in files[:2]:
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 3 .*0\.png.*1\.png"):
        load_pixels(files, preprocessing=Preprocessing(), size=(8, 8), folder=tmp_path)


def test_validation_sees_what_the_device_sees(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    files = write_photos(tmp_path, 2)
    preprocessing = Preprocessing(mean=(120.0, 110.0, 100.0), std=(60.0, 61.0, 62.0), color="bgr")
    spec = TensorSpec(name="x", shape=(1, 16, 12, 3), dtype="float32")
    store = load_pixels(files, preprocessing=preprocessing, size=(16, 12), folder=tmp_path)
    batch = normalize(store.fetch(np.arange(2)), preprocessing).numpy()
    device = Preprocessor(preprocessing, spec)
    for image, file in zip(batch, files, strict=True):
        assert image == pytest.approx(device(decode_image(file))[0], abs=1e-6)

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.contract import Preprocessing
from edgevision.data.batches import iterate_batches, iterate_pixels, load_pixels
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import DataError, InvalidConfigError, MissingFileError
from edgevision.specs import Quantization, TensorSpec


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Ten images; every pixel of image i is i."""
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for i, path in enumerate(paths):
        Image.new("RGB", (20 - i, 12), (i, i, i)).save(path)
    return paths


@pytest.fixture
def preprocessor() -> Preprocessor:
    spec = TensorSpec(name="x", shape=(1, 4, 4, 3), dtype="float32")
    return Preprocessor(Preprocessing(mean=(0,), std=(1,)), spec)


@pytest.mark.parametrize("threads", [1, 3, None])
@pytest.mark.parametrize("batch_size", [1, 4, 10, 16])
def test_batches_keep_the_order(
    files: list[Path], preprocessor: Preprocessor, batch_size: int, threads: int | None
) -> None:
    batches = list(iterate_batches(files, preprocessor, batch_size=batch_size, threads=threads))
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    joined = np.concatenate(batches)
    assert joined.shape == (10, 4, 4, 3)
    assert joined.dtype == np.float32
    assert joined[:, 0, 0, 0].tolist() == list(range(10))


def test_batches_of_a_quantized_nchw_input(files: list[Path]) -> None:
    spec = TensorSpec(
        name="x",
        shape=(1, 3, 4, 4),
        dtype="int8",
        quantization=Quantization(scales=(1.0,), zero_points=(-128,)),
    )
    preprocessor = Preprocessor(Preprocessing(mean=(0,), std=(1,)), spec)
    (batch,) = iterate_batches(files, preprocessor, batch_size=10)
    assert batch.shape == (10, 3, 4, 4)
    assert batch[:, 0, 0, 0].tolist() == [i - 128 for i in range(10)]


def test_no_files(preprocessor: Preprocessor) -> None:
    assert list(iterate_batches([], preprocessor)) == []
    assert load_pixels([], preprocessor).shape == (0, 4, 4, 3)


def test_broken_file_is_named(files: list[Path], preprocessor: Preprocessor) -> None:
    files[3].write_text("no image")
    batches = iterate_batches(files, preprocessor)
    assert [next(batches)[0, 0, 0, 0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"3\.png"):
        next(batches)


def test_broken_files_are_skipped_and_reported(
    files: list[Path], preprocessor: Preprocessor
) -> None:
    files[3].write_text("no image")
    reported: list[tuple[int, str]] = []

    def report(index: int, error: DataError) -> None:
        reported.append((index, str(error)))

    kept = [i for i, _ in iterate_pixels(files, preprocessor, on_broken=report)]
    assert kept == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert reported[0][0] == 3
    assert "3.png" in reported[0][1]
    assert load_pixels(files, preprocessor, on_broken=report)[:, 0, 0, 0].tolist() == kept


def test_missing_file_is_an_error_even_when_skipping(
    files: list[Path], preprocessor: Preprocessor
) -> None:
    files[1].unlink()
    with pytest.raises(MissingFileError, match=r"1\.png"):
        load_pixels(files, preprocessor, on_broken=lambda *_: None)


def test_little_is_decoded_ahead_and_threads_end(
    files: list[Path], preprocessor: Preprocessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    resize = preprocessor.resize

    def count(image: np.ndarray) -> np.ndarray:
        decoded.append(files[0])
        return resize(image)

    monkeypatch.setattr(preprocessor, "resize", count)
    before = threading.active_count()
    batches = iterate_batches(files * 100, preprocessor, threads=2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(decoded) <= 2 * 2 + 1


def test_only_usable_cores_decode(
    files: list[Path], preprocessor: Preprocessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def note(image: np.ndarray) -> np.ndarray:
        used.append(threading.current_thread().name)
        return image

    monkeypatch.setattr("edgevision.data.batches.count_cores", lambda: 1)
    monkeypatch.setattr(preprocessor, "resize", note)
    assert len(list(iterate_pixels(files * 4, preprocessor))) == 4 * len(files)
    assert len(set(used)) == 1


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"threads": 0}])
def test_counts_are_checked(preprocessor: Preprocessor, options: dict[str, int]) -> None:
    with pytest.raises(InvalidConfigError):
        iterate_batches([], preprocessor, **options)

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_collection_finish() -> None:
    """Keep the garbage collector from the million objects that TensorFlow's import leaves.

    Converters make so many objects that it would look through all of them again and again: a sixth
    of the time of their tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own: the user's is neither read nor written."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEVISION_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images and models that EDGEVISION_TEST_DATA names."""
    folder = os.environ.get("EDGEVISION_TEST_DATA")
    if not folder:
        pytest.skip("EDGEVISION_TEST_DATA is not set: no real images and models to test on")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"EDGEVISION_TEST_DATA names no folder: {path}")
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which Vulkan finds no driver, whatever is installed here."""
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nowhere.json")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere.json")


@pytest.fixture(scope="session")
def gpu() -> Any:
    """The adapter that Vulkan offers, where EDGEVISION_TEST_GPU asks for it to be tested."""
    if not os.environ.get("EDGEVISION_TEST_GPU"):
        pytest.skip("EDGEVISION_TEST_GPU is not set: nothing is run on a GPU")
    from edgevision.runtime.gpu_adapter import find_gpu_parts

    found = find_gpu_parts()
    if found.adapter is None:
        pytest.fail(f"EDGEVISION_TEST_GPU is set, but there is no GPU: {found.trouble}")
    return found.adapter


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float classifier of three classes for 8x8 RGB images, without a contract."""
    from tiny_models import build_classifier

    path = tmp_path_factory.mktemp("tiny") / "tiny.tflite"
    path.write_bytes(build_classifier())
    return path

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import build_classifier

from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.reader import find_format, read_graph
from edgevision.specs import ModelFormat


def test_reads_a_tflite_file(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(build_classifier())
    assert read_graph(str(path)).format is ModelFormat.TFLITE


def test_a_file_without_a_telling_name_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(build_classifier())
    assert read_graph(path).format is ModelFormat.TFLITE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.tflite", ModelFormat.TFLITE),
        ("a.ONNX", ModelFormat.ONNX),
        ("a.keras", ModelFormat.KERAS),
        ("a.h5", ModelFormat.H5),
        ("a.hdf5", ModelFormat.H5),
    ],
)
def test_format_follows_the_name(tmp_path: Path, name: str, expected: ModelFormat) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert find_format(tmp_path / name) is expected


def test_saved_model_folder(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert find_format(tmp_path) is ModelFormat.SAVED_MODEL
    with pytest.raises(InvalidModelError, match="SavedModel"):
        read_graph(tmp_path)


def test_other_folders_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="a folder is not a model"):
        read_graph(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_graph(tmp_path / "none.tflite")


@pytest.mark.parametrize("name", ["noise.bin", "noise.tflite", "noise.h5", "noise.keras"])
def test_noise_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InvalidModelError):
        read_graph(tmp_path / name)


def test_reading_a_tflite_file_loads_no_framework(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(build_classifier())
    code = (
        "import sys; from edgevision.graph.reader import read_graph;"
        f"read_graph({str(path)!r});"
        "heavy = {'tensorflow', 'keras', 'onnx', 'h5py', 'ai_edge_litert', 'PIL'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

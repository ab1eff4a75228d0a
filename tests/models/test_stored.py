from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgevision.errors import InvalidModelError
from edgevision.models.stored import read_stored_layers

h5py = pytest.importorskip("h5py")


def _write_legacy(path: Path) -> None:
    """Write what Keras 2 writes: a nested body, whose trainable weights come first, and a head."""
    weights = ["conv1/kernel:0", "bn/gamma:0", "bn/moving_mean:0"]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", b"body", b"dense"]
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0)
        body = file.create_group("body")
        body.attrs["weight_names"] = [w.encode() for w in (*weights[:2], "conv2/k:0", weights[2])]
        for name, shape in zip(weights, ((3, 3, 3, 4), (4,), (4,)), strict=True):
            body[name] = np.zeros(shape)
        body["conv2/k:0"] = np.zeros((1, 1, 4, 8))
        dense = file.create_group("dense")
        dense.attrs["weight_names"] = [b"dense/kernel:0"]
        dense["dense/kernel:0"] = np.zeros((8, 2))


def test_the_layout_of_keras_2_gives_layers_in_order(tmp_path: Path) -> None:
    _write_legacy(tmp_path / "w.h5")
    layers = read_stored_layers(tmp_path / "w.h5")
    assert [(entry.name, [a.shape for a in entry.arrays]) for entry in layers] == [
        ("conv1", [(3, 3, 3, 4)]),
        ("bn", [(4,), (4,)]),
        ("conv2", [(1, 1, 4, 8)]),
        ("dense", [(8, 2)]),
    ]
    assert {entry.kind for entry in layers} == {""}


def test_the_layout_of_keras_3_gives_classes_in_order(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for number in (10, 2, 0):
            key = f"depthwise_conv2d_{number}" if number else "depthwise_conv2d"
            file[f"layers/{key}/vars/0"] = np.full((3, 3, 4, 1), float(number))
            file[f"layers/{key}/vars"].attrs["name"] = f"layer_{number}"
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2)
        file["optimizer/vars/0"] = np.zeros(())
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("model.weights.h5", memory.getvalue())
    layers = read_stored_layers(tmp_path / "m.keras")
    assert [(entry.kind, entry.name) for entry in layers] == [
        ("depthwiseconv2d", "layer_0"),
        ("depthwiseconv2d", "layer_2"),
        ("depthwiseconv2d", "layer_10"),
    ]
    assert [entry.arrays[0].max() for entry in layers] == [0, 2, 10]


def _write_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(3000))


def _write_cut_zip(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(200))


def _write_other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


def _write_cut_hdf5(path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))


def _write_empty_hdf5(path: Path) -> None:
    with h5py.File(path, "w"):
        pass


def _write_text_weights(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = b"kernel"


@pytest.mark.parametrize(
    "write",
    [
        _write_noise,
        _write_cut_zip,
        _write_other_zip,
        _write_cut_hdf5,
        _write_empty_hdf5,
        _write_text_weights,
        Path.touch,
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.h5"
    write(path)
    with pytest.raises(InvalidModelError, match="not a Keras weights file"):
        read_stored_layers(path)

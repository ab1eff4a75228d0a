"""The arrays in a Keras file, layer by layer, without building the stored model.

Two layouts exist. Keras 2 (and ``.h5`` of Keras 3) keeps groups by layer name with their order in
attributes; Keras 3 keeps ``…/vars/0`` below a class name with a running number, in ``.weights.h5``
or in the ``model.weights.h5`` of a ``.keras`` zip.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import InvalidModelError
from edgevision.graph.archives import read_file
from edgevision.graph.reader import sniff_format
from edgevision.specs import ModelFormat

_ARCHIVED = "model.weights.h5"
# No .tflite file can hold more: what unpacks to more than this is an attack or an accident.
_MAX_WEIGHTS_BYTES = 2 << 30
# Parts of a Keras 3 file that are no layer's weights.
_NO_LAYERS = ("optimizer", "metrics", "compile_metrics", "seed_generator", "loss_tracker")


class StoredLayer(NamedTuple):
    """One layer's arrays.

    Attributes:
        name: Layer name in the file.
        kind: Its class in lower case without underscores (``conv2d``), empty where the layout
            does not tell; layers are then in the order of the network.
        arrays: In the order of ``layer.weights``.
    """

    name: str
    kind: str
    arrays: tuple[np.ndarray[Any, Any], ...]


def read_stored_layers(path: Path) -> list[StoredLayer]:
    """Read every layer that has weights.

    Raises:
        InvalidModelError: It is no Keras file, is damaged, or holds no weights.
    """
    h5py = import_backend("h5py")
    try:
        with _open_hdf5(path) as source, h5py.File(source, "r") as file:
            group = file.get("model_weights", file)
            legacy = "layer_names" in group.attrs
            layers = list(_read_named(group) if legacy else _read_numbered(group))
    except InvalidModelError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _no_weights(path, str(error)) from error
    if not layers:
        raise _no_weights(path, "it holds no layer weights")
    return layers


def _open_hdf5(path: Path) -> BinaryIO:
    """Open the HDF5 part of a file, told by its first bytes."""
    content = sniff_format(path)
    if content is ModelFormat.H5:
        return path.open("rb")
    if content is not ModelFormat.KERAS:
        raise _no_weights(path, "neither HDF5 nor a .keras archive")
    weights = read_file(path, _ARCHIVED, max_bytes=_MAX_WEIGHTS_BYTES)
    if weights is None:
        raise _no_weights(path, f"no {_ARCHIVED} in the archive")
    return io.BytesIO(weights)


def _no_weights(path: Path, reason: str) -> InvalidModelError:
    return InvalidModelError(
        "not a Keras weights file",
        received=f"{path}: {reason}",
        remedy="give a .keras, .h5 or .weights.h5 file",
    )


def _read_named(group: Any) -> Iterator[StoredLayer]:
    """Read the layout of Keras 2; a nested model's layers are told apart by their weights' names.

    Weights of one layer share a prefix (``conv1_bn/gamma:0``), but a nested model lists all
    trainable ones first.
    """
    for layer_name in _texts(group.attrs["layer_names"]):
        layers: dict[str, list[np.ndarray[Any, Any]]] = {}
        for weight in _texts(group[layer_name].attrs["weight_names"]):
            owner = weight.rpartition("/")[0]
            layers.setdefault(owner, []).append(_array(group[layer_name][weight]))
        for owner, arrays in layers.items():
            yield StoredLayer(owner.rpartition("/")[2] or layer_name, "", tuple(arrays))


def _read_numbered(group: Any) -> Iterator[StoredLayer]:
    """Read the layout of Keras 3, in the order of the running numbers."""
    found: list[tuple[str, Any]] = []
    group.visititems(lambda name, item: found.append((name, item)))
    owners = [(name.split("/")[:-1], item) for name, item in found if name.endswith("/vars")]
    for owner, variables in sorted(owners, key=lambda entry: [_numbered(p) for p in entry[0]]):
        if not len(variables) or any(part.startswith(_NO_LAYERS) for part in owner):
            continue
        kind, _ = _numbered(owner[-1])
        arrays = tuple(_array(variables[key]) for key in sorted(variables, key=int))
        name = str(variables.attrs.get("name", owner[-1]))
        yield StoredLayer(name, kind.replace("_", ""), arrays)


def _numbered(part: str) -> tuple[str, int]:
    """Split ``depthwise_conv2d_12`` into its class and running number.

    >>> _numbered("conv2d"), _numbered("conv2d_3")
    (('conv2d', 0), ('conv2d', 3))
    """
    match = re.fullmatch(r"(.+?)(?:_(\d+))?", part)
    return (match[1], int(match[2] or 0)) if match else (part, 0)


def _array(dataset: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(dataset)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{dataset.name} is not numeric")
    return array


def _texts(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]

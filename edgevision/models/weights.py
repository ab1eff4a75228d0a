"""Pretrained weights: from a file of any Keras version, or those ``keras.applications`` publishes.

Only the arrays are read, never the stored architecture: our network is already built, and files
of other versions often can not be deserialized. Layers are matched by name where the file uses
ours, otherwise by order, the backbone first: so a classifier's file fills a detector or segmenter
up to its head.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.errors import DataError, InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.models.config import NetworkConfig
from edgevision.models.heads import HEAD_PREFIX
from edgevision.models.spec import ModelSpec, PublishedFile
from edgevision.models.stored import StoredLayer, read_stored_layers
from edgevision.specs import Task

# Every published family has it, at every alpha.
_BACKBONE_SIDE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """What ``load_weights`` did.

    Attributes:
        source: The file.
        loaded: Layers of the network that got weights.
        skipped: Layers of the head that kept theirs, because the file has none that fit.
        unused: Layers of the file that found no place.
    """

    source: str
    loaded: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "source": self.source,
            "loaded": list(self.loaded),
            "skipped": list(self.skipped),
            "unused": list(self.unused),
        }


def load_weights(model: Any, path: str | Path) -> WeightsReport:
    """Fill a network with the weights of a file; a head that they do not fit is left alone.

    Args:
        model: A Keras model from ``create_model``, for any task.
        path: A ``.keras``, ``.h5`` or ``.weights.h5`` file of Keras 2 or 3, whole or weights only,
            of the same network, or of one with the same backbone and another head.

    Returns:
        Which layers were loaded and which were not.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It holds no Keras weights, or they do not fit the network's body; the
            message names the first layer that differs. The network is then unchanged.
    """
    source = require_file(path)
    layers = [layer for layer in model.layers if layer.weights]
    stored = read_stored_layers(source)
    pairs = _match(layers, stored)
    fitting = {
        layer.name: found
        for layer, found in pairs
        if found is not None and _mismatch(layer, found) is None
    }
    for layer, found in pairs:
        if layer.name not in fitting and not layer.name.startswith(HEAD_PREFIX):
            raise _misfit(layer, found, source=source, first=layer is pairs[0][0])
    for layer in layers:
        if layer.name in fitting:
            arrays = zip(fitting[layer.name].arrays, layer.weights, strict=True)
            layer.set_weights([array.reshape(weight.shape) for array, weight in arrays])
    used = {id(found) for found in fitting.values()}
    return WeightsReport(
        source=str(source),
        loaded=tuple(fitting),
        skipped=tuple(layer.name for layer in layers if layer.name not in fitting),
        unused=tuple(entry.name for entry in stored if id(entry) not in used),
    )


def require_file(path: str | Path) -> Path:
    """Return the path of a weights file that exists.

    Raises:
        MissingFileError: There is none.
    """
    source = Path(path)
    if not source.is_file():
        raise MissingFileError(
            "there is no such weights file",
            received=path,
            remedy='give a .keras or .h5 file, or "imagenet"',
        )
    return source


def fetch_published(spec: ModelSpec, config: NetworkConfig) -> Path:
    """Return the file of ImageNet weights for a network, downloaded once and kept by Keras.

    For a detector or segmenter it is the classifier of the same backbone.

    Raises:
        InvalidConfigError: None are published for this network, alpha, size or channels.
        DataError: They can not be downloaded.
    """
    entry = find_published(spec, config)
    address = f"{spec.published.address}{entry.file}" if spec.published else entry.file
    keras = import_backend("keras")
    try:
        # Keras draws its progress on standard output, which belongs to our results.
        with redirect_stdout(sys.stderr):
            path = keras.utils.get_file(
                entry.file, address, cache_subdir="models", file_hash=entry.md5
            )
    except Exception as error:  # Keras raises a bare Exception when the network fails
        raise DataError(
            "the published weights can not be downloaded",
            received=f"{address}: {error}",
            remedy="download the file elsewhere and pass it with --weights FILE",
        ) from error
    return Path(path)


def find_published(spec: ModelSpec, config: NetworkConfig) -> PublishedFile:
    """Look up the published file for a network's alpha and input size.

    A backbone without its classifier is trained on at any size: it takes the file for 224 pixels.

    Raises:
        InvalidConfigError: There is none; the message names those that exist.
    """
    files = spec.published.files if spec.published else {}
    if not files:
        raise InvalidConfigError(
            "no ImageNet weights are published for this network",
            received=f"name={spec.name}",
            remedy="use weights=none or a file of your own",
        )
    if config.channels != 3:
        raise InvalidConfigError(
            "the published ImageNet weights take 3 channels",
            received=f"channels={config.channels}",
            remedy="use channels=3, or weights=none",
        )
    height, width = config.input_size
    side = height if height == width else 0
    key = (config.alpha, side if spec.task is Task.CLASSIFY else _BACKBONE_SIDE)
    if key not in files:
        raise InvalidConfigError(
            f"no ImageNet weights are published for this form of {spec.name}",
            received=f"alpha={config.alpha}, input_size={height}x{width}",
            remedy=f"published are {_list_published(files)}; "
            "--weights FILE takes any of their files at any input size",
        )
    return files[key]


def _list_published(files: Mapping[tuple[float, int], PublishedFile]) -> str:
    """Write the table in one line: ``alpha 0.25 at 128, 160; alpha 0.5 at 128``."""
    sizes: dict[float, list[str]] = {}
    for alpha, side in files:
        sizes.setdefault(alpha, []).append(str(side))
    return "; ".join(f"alpha {alpha} at {', '.join(sides)}" for alpha, sides in sizes.items())


Pairs = list[tuple[Any, StoredLayer | None]]

# A classifier is the same matrix whichever of these it was written as.
_SAME_ARRAYS = {"conv2d": "dense", "dense": "conv2d"}


def _match(layers: Sequence[Any], stored: Sequence[StoredLayer]) -> Pairs:
    """Pair each layer with its counterpart in the file, ``None`` where there is none.

    Keras lists layers by their depth in the network, so a head may stand among the layers of
    its backbone: the backbone is matched alone, and the head against what it leaves.
    """
    body = [layer for layer in layers if not layer.name.startswith(HEAD_PREFIX)]
    head = [layer for layer in layers if layer.name.startswith(HEAD_PREFIX)]
    by_name = {entry.name: entry for entry in stored}
    if all(layer.name in by_name for layer in body):
        return [(layer, by_name.get(layer.name)) for layer in (*body, *head)]
    pair_up = _pair_by_kind if all(entry.kind for entry in stored) else _pair_by_order
    pairs, rest = pair_up(body, stored)
    # A head of another size is another head: then its n-th layer is not ours.
    fits = len(rest) == len(head)
    return [*pairs, *(pair_up(head, rest)[0] if fits else [(layer, None) for layer in head])]


def _pair_by_order(
    layers: Sequence[Any], stored: Sequence[StoredLayer]
) -> tuple[Pairs, list[StoredLayer]]:
    """Pair the n-th layer with the n-th of the file; return also what is left of the file."""
    missing = [None] * max(len(layers) - len(stored), 0)
    pairs = list(zip(layers, (*stored, *missing), strict=False))
    return pairs, list(stored[len(layers) :])


def _pair_by_kind(
    layers: Sequence[Any], stored: Sequence[StoredLayer]
) -> tuple[Pairs, list[StoredLayer]]:
    """Pair the n-th layer of each class with the n-th of that class in the file."""
    queues: dict[str, list[StoredLayer]] = {}
    for entry in reversed(stored):
        queues.setdefault(entry.kind, []).append(entry)
    pairs: Pairs = []
    for layer in layers:
        kind = type(layer).__name__.lower()
        queue = queues.get(kind) or queues.get(_SAME_ARRAYS.get(kind, ""))
        pairs.append((layer, queue.pop() if queue else None))
    left = {id(entry) for queue in queues.values() for entry in queue}
    return pairs, [entry for entry in stored if id(entry) in left]


def _mismatch(layer: Any, found: StoredLayer | None) -> str | None:
    """Say how the file's layer differs from the network's, ``None`` where it fits."""
    wanted = [tuple(w.shape) for w in layer.weights]
    if found is None:
        return f"layer {layer.name} {_shapes(wanted)} is not in the file"
    stored = [tuple(a.shape) for a in found.arrays]
    if list(map(_without_points, stored)) == list(map(_without_points, wanted)):
        return None
    return f"layer {layer.name} has {_shapes(wanted)}, the file's {found.name} {_shapes(stored)}"


def _misfit(
    layer: Any, found: StoredLayer | None, *, source: Path, first: bool
) -> InvalidModelError:
    remedy = "build the network and alpha that the file was made from"
    kernels = (tuple(layer.weights[0].shape), tuple(found.arrays[0].shape) if found else ())
    if first and all(len(k) == 4 for k in kernels) and kernels[0][2] != kernels[1][2]:
        remedy = f"the file takes images of {kernels[1][2]} channels: use channels={kernels[1][2]}"
    return InvalidModelError(
        "the weights do not fit the network",
        received=f"{source}: {_mismatch(layer, found)}",
        remedy=remedy,
    )


def _without_points(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop a kernel's 1×1 window: a pointwise convolution is the same matrix as a dense layer."""
    return shape[2:] if len(shape) == 4 and shape[:2] == (1, 1) else shape


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)

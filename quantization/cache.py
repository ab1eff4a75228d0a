"""Calibration results on disk, so that photos are decoded and run once for a network.

An entry is found by the content of everything that it depends on: the network, every image, the
preprocessing, and the versions of what decodes and runs. Paths and times of files would be cheaper
to compare, but a copied or restored file keeps its time, and a wrong hit would give a wrong model;
hashing takes a hundredth of the time of decoding. Threads and ``--scheme`` do not matter.

Entries are written to a temporary name and renamed, so that processes may share them. A damaged one
counts as none. The oldest go when all together grow too large.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.contract import Preprocessing
from edgevision.errors import OutputError
from edgevision.outputs import atomic_path
from edgevision.quantization.calibrate import Calibration, ChannelRange
from edgevision.quantization.images import CalibrationImages

Array = np.ndarray[Any, Any]

# To be raised with every change of what is measured or how it is stored.
_FORMAT = 1
_PACKAGES = ("ai-edge-litert", "edgevision", "numpy", "pillow")
_MAX_BYTES = 512 * 2**20
# Below this, finding an entry saves nothing that anybody notices.
_WORTH_SECONDS = 1.0
_SUFFIX = ".npz"
# A process that was killed left it behind.
_STALE_SECONDS = 24 * 3600
_DAMAGED = (
    *(OSError, ValueError, KeyError, IndexError, EOFError, TypeError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What tells that a file has not changed for a moment."""

    size: int
    time_ns: int
    inode: int


def find_cache_folder() -> Path | None:
    """Return where results are kept: ``EDGEVISION_CACHE``, or the user's folder for caches.

    ``None`` for a user without a home.
    """
    if chosen := os.environ.get("EDGEVISION_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(base) / "edgevision"
    try:
        return Path.home() / ".cache" / "edgevision"
    except RuntimeError:
        return None


class CalibrationCache:
    """The entry of one network and one set of images.

    Every image is read and hashed, broken ones too, but only where an entry of the network exists
    or one is to be written.

    Args:
        folder: Where entries are.
        model: Bytes of the float ``.tflite`` that is measured.
        images: Not yet iterated over.
        preprocessing: How they are prepared.
        max_bytes: Of all entries together.
    """

    def __init__(
        self,
        folder: Path,
        model: bytes,
        images: CalibrationImages,
        *,
        preprocessing: Preprocessing,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._states = _read_states(images.files)
        self._network = _describe(model, images, preprocessing)
        self._folder = folder / "calibration"
        self._preprocessing = preprocessing
        self._max_bytes = max_bytes
        self._start = time.perf_counter()

    def load(self, images: CalibrationImages) -> Calibration | None:
        """Return what was measured before, and give the images what they held; or ``None``."""
        if not any(self._folder.glob(f"{self._network}-*{_SUFFIX}")):
            return None
        place = self._find_place(images)
        try:
            # Opened here: NumPy leaves a file open that is no archive.
            with (
                place.open("rb") as file,
                np.load(file, allow_pickle=False) as stored,
            ):
                entry = {name: stored[name] for name in stored.files}
            calibration = _unpack_calibration(entry)
            kept = _normalize(entry["pixels"], self._preprocessing)
            skipped = [(int(i), str(reason)) for i, reason in json.loads(str(entry["skipped"]))]
            images.restore(
                kept, entry["hashes"], skipped=skipped, has_contrast=bool(entry["has_contrast"])
            )
        except _DAMAGED:
            return None
        with contextlib.suppress(OSError):
            os.utime(place)
        return calibration

    def store(self, images: CalibrationImages, calibration: Calibration) -> bool:
        """Keep what was measured, where that will save time; return whether it is kept.

        Nothing is kept where a file has changed meanwhile, or the folder can not be written.
        """
        if time.perf_counter() - self._start < _WORTH_SECONDS:
            return False
        pixels = _find_pixels(images.kept, self._preprocessing)
        if pixels is None or pixels.nbytes > self._max_bytes // 4:
            return False
        place = self._find_place(images)
        if not self._states or _read_states(images.files) != self._states:
            return False
        skipped = [(images.files.index(file), reason) for file, reason in images.skipped]
        entry = {
            **_pack_calibration(calibration),
            "pixels": pixels,
            "hashes": np.array(images.hashes, np.uint8),
            "has_contrast": np.array(images.has_contrast),
            "skipped": np.array(json.dumps(skipped)),
        }
        try:
            # Photos of the user are nobody else's business.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_path(place) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **entry)
            _remove_oldest(self._folder, self._max_bytes)
        except (OSError, OutputError):
            return False
        return True

    def _find_place(self, images: CalibrationImages) -> Path:
        return self._folder / f"{self._network}-{_hash_files(images.files)}{_SUFFIX}"


def _describe(model: bytes, images: CalibrationImages, preprocessing: Preprocessing) -> str:
    """Hash everything that a result depends on but the images themselves."""
    digest = hashlib.sha256(model)
    settings = {
        "format": _FORMAT,
        "preprocessing": asdict(preprocessing),
        "skip_broken": images.skip_broken,
        "versions": {name: _find_version(name) for name in _PACKAGES},
    }
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _hash_files(files: Sequence[Path]) -> str:
    """Hash the content of files, in order."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError:  # what reads the images says so better
            digest.update(os.urandom(32))
    return digest.hexdigest()


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its source
        return ""


def _read_states(files: Sequence[Path]) -> list[State]:
    """Return the state of every file; nothing where one can not be read."""
    try:
        stats = [file.stat() for file in files]
    except OSError:
        return []
    return [State(size=s.st_size, time_ns=s.st_mtime_ns, inode=s.st_ino) for s in stats]


def _find_pixels(kept: Array, preprocessing: Preprocessing) -> Array | None:
    """Return the bytes from which normalizing makes exactly these inputs; ``None`` if it fails."""
    mean, std = _spread(kept, preprocessing)
    pixels = np.clip(np.rint(kept * std + mean), 0, 255).astype(np.uint8)
    return pixels if np.array_equal(_normalize(pixels, preprocessing), kept) else None


def _normalize(pixels: Array, preprocessing: Preprocessing) -> Array:
    """Do what ``Preprocessor`` does, to the last bit."""
    mean, std = _spread(pixels, preprocessing)
    values = pixels.astype(np.float32)
    values -= mean
    values /= std
    return values


def _spread(values: Array, preprocessing: Preprocessing) -> tuple[Array, Array]:
    """Shape mean and std so that they meet the channels: last, or first behind the batch."""
    last = values.shape[-1] in (1, 3)
    shape = (-1,) if last else (-1, 1, 1)
    mean, std = (np.array(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    return mean.reshape(shape), std.reshape(shape)


def _pack_calibration(calibration: Calibration) -> dict[str, Array]:
    ranges = calibration.ranges
    return {
        "tensors": np.array(list(ranges), np.int64),
        "channels": np.array([seen.high.size for seen in ranges.values()], np.int64),
        "low": np.concatenate([seen.low for seen in ranges.values()]),
        "high": np.concatenate([seen.high for seen in ranges.values()]),
        "lows": calibration.lows,
        "highs": calibration.highs,
    }


def _unpack_calibration(entry: dict[str, Array]) -> Calibration:
    ends = np.cumsum(entry["channels"])
    low, high = (np.split(entry[name], ends[:-1]) for name in ("low", "high"))
    tensors = entry["tensors"].tolist()
    rows = zip(tensors, low, high, strict=True)
    return Calibration(
        ranges={tensor: ChannelRange(low=a, high=b) for tensor, a, b in rows},
        lows=entry["lows"],
        highs=entry["highs"],
        cached=True,
    )


def _remove_oldest(folder: Path, max_bytes: int) -> None:
    """Remove what was not used for longest until the rest fits, and what was never finished."""
    now = time.time()
    entries = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            state = path.stat()
            if path.name.startswith("."):
                if now - state.st_mtime > _STALE_SECONDS:
                    path.unlink()
            elif path.suffix == _SUFFIX:
                entries.append((state.st_mtime, state.st_size, path))
    total = 0
    for _, size, path in sorted(entries, key=lambda entry: entry[0], reverse=True):
        total += size
        if total > max_bytes:
            with contextlib.suppress(OSError):
                path.unlink()

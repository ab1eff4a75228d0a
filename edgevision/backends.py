"""Optional packages: imported where they are used, with the remedy when one is missing."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from edgevision.errors import BackendUnavailableError
from edgevision.streams import drop_stderr_lines

EXTRAS = {
    "tensorflow": "tf",
    "keras": "tf",
    "h5py": "tf",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "tf2onnx": "onnx",
    "ai_edge_quantizer": "quantize",
    "pycocotools": "eval",
    "jinja2": "report",
    "matplotlib": "report",
    "cv2": "video",
    "ray": "ray",
}


_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
# Environment variables that a package reads at import, unless the user has set them.
_SETTINGS = {
    "tensorflow": _TENSORFLOW,
    "keras": _TENSORFLOW,
    "tf2onnx": _TENSORFLOW,
    "matplotlib": {"MPLBACKEND": "Agg"},
}
_NOISY = frozenset({"tensorflow", "keras", "tf2onnx"})
# Written before TensorFlow knows its log level; they would drown our own output.
_START_UP_NOTES = (
    b"All log messages before absl::InitializeLog()",
    b"oneDNN custom operations are on",
    b"Could not find cuda drivers",
    b"This TensorFlow binary is optimized to use available CPU instructions",
    b"To enable the following instructions",
    b"failed call to cuInit",
    b"computation_placer already registered",
    b"Unable to register cu",
)


def import_backend(module: str) -> Any:
    """Import an optional package (or one of its submodules).

    Args:
        module: Dotted name, such as ``"tensorflow"`` or ``"matplotlib.pyplot"``.

    Raises:
        BackendUnavailableError: It is not installed; the error names the extra that brings it.
    """
    root = module.partition(".")[0]
    os.environ.update({k: v for k, v in _SETTINGS.get(root, {}).items() if k not in os.environ})
    try:
        if module in sys.modules or root not in _NOISY:
            return import_module(module)
        with drop_stderr_lines(_START_UP_NOTES):
            return import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] not in (root, *EXTRAS):
            raise
        raise BackendUnavailableError(
            f"this step needs {root}, which is not installed", extra=EXTRAS[root]
        ) from error

"""Optional packages: imported where they are used, with the remedy when one is missing."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from edgevision.errors import BackendUnavailableError

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
}


def import_backend(module: str) -> Any:
    """Import an optional package (or one of its submodules).

    Args:
        module: Dotted name, such as ``"tensorflow"`` or ``"matplotlib.pyplot"``.

    Raises:
        BackendUnavailableError: It is not installed; the error names the extra that brings it.
    """
    root = module.partition(".")[0]
    if root in ("tensorflow", "keras"):
        # Read by TensorFlow at import: its start-up notes would drown our own output.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if root == "matplotlib":
        os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] not in (root, *EXTRAS):
            raise
        raise BackendUnavailableError(
            f"this step needs {root}, which is not installed", extra=EXTRAS[root]
        ) from error

"""Photos in; a small, fast, verified model file out, with the numbers that prove it.

Names are loaded on first use, so that importing the package stays cheap on a small device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "create_model": "edgevision.models.registry",
    "list_models": "edgevision.models.catalog",
    "train": "edgevision.training.train",
    "convert": "edgevision.converters.convert",
    "quantize": "edgevision.quantization.quantize",
    "diagnose": "edgevision.quantization.diagnosis.compare",
    "verify": "edgevision.converters.verify",
    "profile": "edgevision.benchmarks.profile",
    "evaluate": "edgevision.benchmarks.accuracy",
    "benchmark": "edgevision.benchmarks.benchmark",
    "explain": "edgevision.benchmarks.placement.explain",
    "plan": "edgevision.benchmarks.plan",
    "pareto": "edgevision.benchmarks.pareto.pareto",
    "load": "edgevision.runtime.load",
    "predict": "edgevision.runtime.predict",
    "Contract": "edgevision.contract",
    "Preprocessing": "edgevision.contract",
    "Classifier": "edgevision.runtime.classify",
    "Detector": "edgevision.runtime.detect",
    "Segmenter": "edgevision.runtime.segment",
    "EdgeVisionError": "edgevision.errors",
}

if TYPE_CHECKING:
    from edgevision.benchmarks.accuracy import evaluate
    from edgevision.benchmarks.benchmark import benchmark
    from edgevision.benchmarks.pareto.pareto import pareto
    from edgevision.benchmarks.placement.explain import explain
    from edgevision.benchmarks.plan import plan
    from edgevision.benchmarks.profile import profile
    from edgevision.contract import Contract, Preprocessing
    from edgevision.converters.convert import convert
    from edgevision.converters.verify import verify
    from edgevision.errors import EdgeVisionError
    from edgevision.models.catalog import list_models
    from edgevision.models.registry import create_model
    from edgevision.quantization.diagnosis.compare import diagnose
    from edgevision.quantization.quantize import quantize
    from edgevision.runtime.classify import Classifier
    from edgevision.runtime.detect import Detector
    from edgevision.runtime.load import load
    from edgevision.runtime.predict import predict
    from edgevision.runtime.segment import Segmenter
    from edgevision.training.train import train

__all__ = [
    "Classifier",
    "Contract",
    "Detector",
    "EdgeVisionError",
    "Preprocessing",
    "Segmenter",
    "__version__",
    "benchmark",
    "convert",
    "create_model",
    "diagnose",
    "evaluate",
    "explain",
    "list_models",
    "load",
    "pareto",
    "plan",
    "predict",
    "profile",
    "quantize",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'edgevision' has no attribute {name!r}") from None
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

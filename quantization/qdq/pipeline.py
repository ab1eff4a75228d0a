"""From a float ``.onnx`` to a QDQ one: the same ranges and corrections, another engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.errors import CalibrationError
from edgevision.graph.contracts import attach_onnx_contract
from edgevision.outputs import atomic_path
from edgevision.quantization.advisor import warn_of_few_images
from edgevision.quantization.agreement import measure_agreement
from edgevision.quantization.calibrate import find_input_range
from edgevision.quantization.diagnose import (
    measure_error,
    measure_outputs,
    measure_total_sqnr_db,
)
from edgevision.quantization.gate import AccuracyMeter
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.pipeline import NOTHING_GAINED, Options, Quantized
from edgevision.quantization.qdq.engine import Bounds, list_activations, run_onnx_engine
from edgevision.quantization.qdq.repair import repair_onnx
from edgevision.quantization.qdq.runs import iterate_onnx, run_onnx
from edgevision.quantization.qdq.source import OnnxSource, check_onnx_options, open_onnx
from edgevision.quantization.request import Request
from edgevision.quantization.result import QuantizationResult, build_result
from edgevision.quantization.search_report import check_target
from edgevision.quantization.steps import LAYER_STEPS
from edgevision.specs import Progress, Task

Array = np.ndarray[Any, Any]

# Layers are repaired on these: each layer runs the network up to it, for every image.
_REPAIR_IMAGES = 32


def quantize_onnx(request: Request) -> QuantizationResult:
    """Quantize a float ``.onnx``.

    Raises:
        InvalidModelError: The model is damaged, or quantized already.
        UnsupportedOpError: The model can not be quantized, or an option is not for ``.onnx`` files.
        CalibrationError: An activation is NaN or infinite, or there are no images.
        QualityGateError: The target does not hold; no file is written.
    """
    check_onnx_options(request)
    source = open_onnx(request.model, request.contract)
    images = request.require_images(source.contract, source.graph)
    quantized = quantize_model(source, images, request.options)
    packed = attach_onnx_contract(quantized.model, source.contract)
    accuracy = None
    if request.data is not None:
        accuracy = AccuracyMeter(source.path, request.data).measure(packed)
    check_target(request.target, accuracy, quantized.agreement)
    with atomic_path(request.output) as place:
        place.write_bytes(packed)
    return build_result(request, quantized, source.contract, images=images, accuracy=accuracy)


def quantize_model(source: OnnxSource, images: CalibrationImages, options: Options) -> Quantized:
    """Quantize in memory.

    Args:
        source: The float model.
        images: Calibration images.
        options: How.
    """
    bounds = measure_bounds(source, images, options.threads, options.progress)
    plain = run_onnx_engine(source.model, options.row.scheme, bounds)
    kept = images.kept
    some = kept[:: -(-len(kept) // _REPAIR_IMAGES)]
    chosen = [step for step in LAYER_STEPS if step in options.steps]
    model, reports = repair_onnx(
        (source.model, plain), some, chosen, threads=options.threads, progress=options.progress
    )
    names = [value.name for value in source.model.graph.output]
    expected = run_onnx(source.model, kept, names, threads=options.threads)
    outputs = run_onnx(model, kept, names, threads=options.threads)
    warnings = warn_of_few_images(images.num_used)
    if chosen:
        answers = run_onnx(plain, kept, names, threads=options.threads)
        if measure_error(expected, outputs) > measure_error(expected, answers):
            model, reports, outputs = plain, (), answers
            warnings.append(NOTHING_GAINED)
    return Quantized(
        model=model.SerializeToString(),
        sqnr_db=measure_total_sqnr_db(expected, outputs),
        outputs=measure_outputs(names, expected, outputs),
        agreement=_measure_agreement(source, expected, outputs),
        repairs=reports,
        warnings=tuple(warnings),
    )


def measure_bounds(
    source: OnnxSource, images: CalibrationImages, threads: int, progress: Progress | None
) -> Bounds:
    """Measure the true minimum and maximum of every float activation.

    Raises:
        CalibrationError: One is NaN or infinite; it is named.
    """
    names = list_activations(source.model)
    low = np.full(len(names), np.inf)
    high = np.full(len(names), -np.inf)
    batches = images.iterate(source.graph, threads, progress)
    for values in iterate_onnx(source.model, batches, names[1:], threads=threads):
        for place, tensor in enumerate(values, start=1):
            if tensor.size:
                low[place] = np.minimum(low[place], tensor.min())
                high[place] = np.maximum(high[place], tensor.max())
    bounds = {}
    for name, first, last in zip(names[1:], low[1:], high[1:], strict=True):
        if np.isnan(first) or np.isnan(last) or first == -np.inf or last == np.inf:
            raise CalibrationError(
                "an activation is NaN or infinite, so it has no range",
                received=f"tensor {name}",
                remedy="check the model's weights and its mean and std",
            )
        bounds[name] = (float(first), float(last)) if first <= last else (0.0, 0.0)
    bounds[names[0]] = find_input_range(source.contract.preprocessing)
    return bounds


def _measure_agreement(
    source: OnnxSource, expected: tuple[Array, ...], outputs: tuple[Array, ...]
) -> float | None:
    contract = source.contract
    last = expected[0].shape[-1] if len(expected) == 1 else 0
    if contract.task is Task.SEGMENT and last != len(contract.labels):
        return None  # channels first: nobody compares classes along the last axis
    return measure_agreement(contract, source.graph, (expected, outputs))

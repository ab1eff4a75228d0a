"""From a float ``.onnx`` to a QDQ one: the same ranges and corrections, another engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.graph.contract_guesses import is_channels_first
from edgevision.outputs import atomic_path
from edgevision.quantization.advisor import CalibrationReport, review_calibration
from edgevision.quantization.agreement import check_collapse, measure_agreement
from edgevision.quantization.bias_room import leave_bias_room
from edgevision.quantization.calibrate import ChannelRange, find_input_range
from edgevision.quantization.diagnose import measure_outputs, measure_total_sqnr_db
from edgevision.quantization.diagnosis.diagnosis import Diagnosis
from edgevision.quantization.gate import AccuracyMeter
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.pipeline import (
    NOTHING_GAINED,
    Options,
    Quantized,
    is_worse,
    prepare_network,
)
from edgevision.quantization.qdq.calibrate import calibrate_onnx
from edgevision.quantization.qdq.diagnose import diagnose_onnx_networks
from edgevision.quantization.qdq.engine import run_onnx_engine
from edgevision.quantization.qdq.network import OnnxNetwork
from edgevision.quantization.qdq.repair import repair_onnx
from edgevision.quantization.qdq.runs import run_onnx
from edgevision.quantization.qdq.source import STEPS, OnnxSource, check_onnx_options, open_onnx
from edgevision.quantization.repair import Repaired
from edgevision.quantization.request import Request
from edgevision.quantization.result import QuantizationResult, build_result
from edgevision.quantization.search_report import check_target
from edgevision.quantization.shared_ranges import share_ranges
from edgevision.quantization.steps import LAYER_STEPS, Step
from edgevision.specs import Scheme, Task

Array = np.ndarray[Any, Any]

_MAP_RANK = 5  # of (N, 1, C, H, W)


def quantize_onnx(request: Request) -> QuantizationResult:
    """Quantize a float ``.onnx``.

    Raises:
        InvalidModelError: The model is damaged, or quantized already.
        UnsupportedOpError: The model can not be quantized, or an option is not for ``.onnx`` files.
        CalibrationError: An activation is NaN or infinite, or there are no images.
        QualityGateError: The target does not hold, or a detector or segmenter collapsed; no file is
            written.
    """
    check_onnx_options(request)
    source = open_onnx(request.model, request.contract)
    images = request.require_images(source.contract, source.graph)
    quantized = quantize_model(source, images, request.options)
    packed = source.finish(quantized.model)
    accuracy = None
    if request.data is not None:
        accuracy = AccuracyMeter(source.path, request.data).measure(packed)
    check_target(request.target, accuracy, quantized.agreement)
    if request.target.min_agreement is None:
        check_collapse(source.contract.task, quantized.agreement)
    diagnosis = _diagnose(source, quantized, images, request=request) if request.diagnose else None
    with atomic_path(request.output) as place:
        place.write_bytes(packed)
    return build_result(
        request,
        quantized,
        source.contract,
        images=images,
        accuracy=accuracy,
        diagnosis=diagnosis,
    )


def quantize_model(source: OnnxSource, images: CalibrationImages, options: Options) -> Quantized:
    """Quantize in memory.

    Args:
        source: The float model.
        images: Calibration images.
        options: How.

    Returns:
        The plain or the repaired model, whichever follows the float one better.
    """
    network, review = _measure_ranges(source, images, options)
    kept = images.kept
    final, changes = prepare_network(network, kept, [s for s in options.steps if s in STEPS])
    scheme, warnings = options.row.scheme, review.warnings
    plain = make_integer(source, network, scheme)
    quantized = make_integer(source, final, scheme) if changes else plain
    steps = [step for step in LAYER_STEPS if step in options.steps]
    repaired = _repair(source, final, (quantized, kept), steps=steps, options=options)
    reports = (*changes, *repaired.steps)
    if reports and _is_worse(source, repaired, (plain, kept), options=options):
        repaired = _repair(source, network, (plain, kept), steps=(), options=options)
        final, reports = network, ()
        warnings = (*warnings, NOTHING_GAINED)
    return Quantized(
        model=repaired.model,
        reference=final.model.SerializeToString(),
        sqnr_db=measure_total_sqnr_db(repaired.expected, repaired.outputs),
        outputs=measure_outputs(source.outputs, repaired.expected, repaired.outputs),
        agreement=compare_answers(source, repaired.expected, repaired.outputs),
        layers=repaired.layers,
        repairs=reports,
        calibration=review,
        warnings=warnings,
    )


def make_integer(source: OnnxSource, network: OnnxNetwork, scheme: Scheme) -> Any:
    """Run the engine with a network's ranges; the input's is what all pixel values give.

    Args:
        source: The float model.
        network: With its ranges.
        scheme: What becomes integer.

    Returns:
        ``ModelProto``.
    """
    graph = network.graph
    ranges = leave_bias_room(graph, share_ranges(graph, network.ranges))
    bounds = {graph.tensors[index].name: seen.bounds() for index, seen in ranges.items()}
    lifted = [op.label for op in source.tail]
    return run_onnx_engine(network.model, scheme, bounds, lifted=lifted)


def compare_answers(
    source: OnnxSource, expected: Sequence[Array], outputs: Sequence[Array]
) -> float | None:
    """Return the share of equal answers; ``None`` where nobody knows what the outputs mean."""
    graph, contract = source.network.graph, source.contract
    if contract.task is Task.DETECT and source.tail:
        return None  # what suppresses the boxes is not ours
    if contract.task is Task.SEGMENT and is_channels_first(source.graph.input_specs()[0]):
        expected, outputs = ([_turn_map(v) for v in side] for side in (expected, outputs))
    return measure_agreement(contract, graph, (expected, outputs))


def _measure_ranges(
    source: OnnxSource, images: CalibrationImages, options: Options
) -> tuple[OnnxNetwork, CalibrationReport]:
    network, preprocessing = source.network, source.contract.preprocessing
    batches = images.iterate(source.graph, options.threads, options.progress)
    seen = calibrate_onnx(network, batches, threads=options.threads)
    review = review_calibration(network, images, seen, preprocessing)
    low, high = (np.full(1, end, np.float32) for end in find_input_range(preprocessing))
    pixels = {network.graph.inputs[0]: ChannelRange(low=low, high=high)}
    return network.with_ranges({**pixels, **seen.ranges}), review


def _repair(
    source: OnnxSource,
    network: OnnxNetwork,
    given: tuple[Any, Array],
    *,
    steps: Sequence[Step],
    options: Options,
) -> Repaired:
    """Repair what the engine made of a network, on some images."""
    return repair_onnx(
        network,
        *given,
        outputs=source.outputs,
        steps=steps,
        rounding_seconds=options.rounding_seconds,
        threads=options.threads,
        progress=options.progress,
    )


def _diagnose(
    source: OnnxSource, quantized: Quantized, images: CalibrationImages, *, request: Request
) -> Diagnosis:
    """Measure every layer against the float network that was quantized at last."""
    parse = import_backend("onnx").load_model_from_string
    return diagnose_onnx_networks(
        (parse(quantized.reference), parse(quantized.model)),
        images.kept,
        tailless=bool(source.tail),
        threads=request.options.threads,
        progress=request.options.progress,
    )


def _is_worse(
    source: OnnxSource, repaired: Repaired, given: tuple[Any, Array], *, options: Options
) -> bool:
    """Whether the repairs made the answers worse than those of the plain model on some images."""
    answers = run_onnx(*given, source.outputs, threads=options.threads)

    def compare(outputs: Sequence[Array]) -> float | None:
        return compare_answers(source, repaired.expected, outputs)

    return is_worse(repaired, answers, compare)


def _turn_map(values: Array) -> Array:
    return np.moveaxis(values, 2, -1) if values.ndim == _MAP_RANK else values

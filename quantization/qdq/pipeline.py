"""From a float ``.onnx`` to a QDQ one: the same ranges and corrections, another engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.contract import Contract
from edgevision.errors import (
    CalibrationError,
    InvalidModelError,
    QualityGateError,
    UnsupportedOpError,
)
from edgevision.graph.contracts import attach_onnx_contract, complete_contract, read_contract
from edgevision.graph.graph import Graph
from edgevision.graph.onnx import read_onnx
from edgevision.outputs import atomic_path
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.advisor import warn_of_few_images
from edgevision.quantization.agreement import measure_agreement
from edgevision.quantization.calibrate import find_input_range
from edgevision.quantization.diagnose import (
    measure_error,
    measure_outputs,
    measure_total_sqnr_db,
)
from edgevision.quantization.gate import AccuracyMeter, EvalData
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.pipeline import Options
from edgevision.quantization.qdq.engine import (
    Bounds,
    list_activations,
    normalize_onnx,
    run_onnx_engine,
)
from edgevision.quantization.qdq.layers import find_onnx_layers
from edgevision.quantization.qdq.repair import repair_onnx
from edgevision.quantization.qdq.runs import iterate_onnx, run_onnx
from edgevision.quantization.result import QuantizationResult
from edgevision.quantization.search_report import describe_target
from edgevision.quantization.steps import LAYER_STEPS
from edgevision.quantization.target import Target
from edgevision.specs import Lift, Progress, RangeMethod, Scheme, Task

Array = np.ndarray[Any, Any]

SCHEMES = (Scheme.INT8, Scheme.INT8_PER_TENSOR)
"""What ONNX files can become in this version."""

# Layers are repaired on these: each layer runs the network up to it, for every image.
_REPAIR_IMAGES = 32
_INTEGER_OPS = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxSource:
    """A float ``.onnx`` with one image as input.

    Attributes:
        path: The file.
        model: ``ModelProto``, ready for the engine.
        graph: The file, read.
        contract: What the file and the caller say about it, completed.
    """

    path: Path
    model: Any
    graph: Graph
    contract: Contract


def open_onnx(path: Path, overrides: Mapping[str, Any]) -> OnnxSource:
    """Read a float model and its contract.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is damaged, or quantized already.
        UnsupportedOpError: It can not be quantized.
    """
    graph = read_onnx(path)
    contract = complete_contract(read_contract(path), graph, overrides)
    integer = [op.name for op in graph.ops if op.name in _INTEGER_OPS]
    if integer:
        raise InvalidModelError(
            "the model is quantized already",
            received=f"{path}: it holds {integer[0]}",
            remedy="give the float .onnx that it was made from",
        )
    if len(graph.inputs) != 1:
        raise UnsupportedOpError(
            "quantization takes models with one input",
            received=f"{path}: {len(graph.inputs)} inputs",
        )
    spec = graph.input_specs()[0]
    if len(spec.shape) != 4 or spec.dtype != "float32" or any(d < 1 for d in spec.shape[1:]):
        raise UnsupportedOpError(
            "quantization takes models with one float32 image of fixed size as input",
            received=f"{path}: {spec.dtype}{list(spec.shape)}",
        )
    if contract.task is Task.DETECT:
        raise UnsupportedOpError(
            "detectors are quantized as .tflite files only in this version",
            received=path,
            remedy="quantize the .tflite of the same model",
        )
    model = normalize_onnx(path)
    if not find_onnx_layers(model):
        raise UnsupportedOpError(
            "nothing to quantize: no convolution or dense layer with float32 weights",
            received=path,
        )
    return OnnxSource(path=path, model=model, graph=graph, contract=contract)


def check_onnx_options(
    options: Options,
    steps: Sequence[str] | None,
    *,
    target: Target,
    unsigned: bool,
    diagnose: bool,
) -> None:
    """Refuse what is for ``.tflite`` files only in this version.

    Raises:
        UnsupportedOpError: It is named.
    """
    named = [str(s) for s in options.steps if s not in LAYER_STEPS] if steps is not None else []
    wanted = {
        f"scheme={options.row.scheme}": options.row.scheme not in SCHEMES,
        "uint8 inputs and outputs": unsigned,
        f"ranges={options.ranges}": options.ranges is not RangeMethod.MINMAX,
        "quantizing without images": options.batch_norm is not None,
        "a diagnosis": diagnose,
        f"lift={target.lift}": target.lift is not Lift.FLOAT,
        f"budget={target.budget_s}": target.budget_s is not None,  # nothing is searched for
        f"steps={','.join(named)}": bool(named),
    }
    for name, given in wanted.items():
        if given:
            raise UnsupportedOpError(
                "this is for .tflite files only in this version",
                received=name,
                remedy="quantize the .tflite of the same model",
            )


def quantize_onnx(
    source: OnnxSource,
    output: Path,
    images: CalibrationImages,
    *,
    options: Options,
    target: Target,
    data: EvalData | None,
) -> QuantizationResult:
    """Quantize a float ``.onnx``.

    Args:
        source: The float model.
        output: The file to write.
        images: Calibration images.
        options: How; ``steps`` are those of layers.
        target: What has to hold; nothing is lifted for it.
        data: Labelled images.

    Raises:
        CalibrationError: An activation is NaN or infinite.
        QualityGateError: The target does not hold; no file is written.
    """
    start = time.perf_counter()
    bounds = measure_bounds(source, images, options.threads, options.progress)
    plain = run_onnx_engine(source.model, options.row.scheme, bounds)
    kept = images.kept
    some = kept[:: -(-len(kept) // _REPAIR_IMAGES)]
    chosen = [step for step in LAYER_STEPS if step in options.steps]
    model, reports = repair_onnx(
        (source.model, plain),
        some,
        chosen,
        rounding_seconds=options.rounding_seconds,
        threads=options.threads,
        progress=options.progress,
    )
    names = [value.name for value in source.model.graph.output]
    expected = run_onnx(source.model, kept, names, threads=options.threads)
    outputs = run_onnx(model, kept, names, threads=options.threads)
    warnings = _warn(images)
    if chosen:
        answers = run_onnx(plain, kept, names, threads=options.threads)
        if measure_error(expected, outputs) > measure_error(expected, answers):
            model, reports, outputs = plain, (), answers
            warnings.append("the repairs brought nothing on the calibration images: left out")
    packed = attach_onnx_contract(model.SerializeToString(), source.contract)
    accuracy = None if data is None else AccuracyMeter(source.path, data).measure(packed)
    agreement = _measure_agreement(source, expected, outputs)
    check_target(target, accuracy, agreement)
    with atomic_path(output) as place:
        place.write_bytes(packed)
    return QuantizationResult(
        output=output,
        scheme=options.row.scheme,
        seconds=time.perf_counter() - start,
        sqnr_db=measure_total_sqnr_db(expected, outputs),
        outputs=measure_outputs(names, expected, outputs),
        agreement=agreement,
        repairs=reports,
        warnings=tuple(warnings),
        num_images=images.num_used,
        skipped=tuple(images.skipped),
        accuracy=accuracy,
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


def check_target(target: Target, accuracy: Accuracy | None, agreement: float | None) -> None:
    """Refuse figures that do not hold a target.

    Raises:
        QualityGateError: With the figures.
    """
    drop = accuracy.drop if accuracy else None
    if target.holds(drop=drop, agreement=agreement):
        return
    figures = [f"drop {drop:.2f} points"] if drop is not None else []
    figures += [f"same answers {agreement:.1%}"] if agreement is not None else []
    raise QualityGateError(
        "the target was not reached, so no file was written",
        received=f"{describe_target(target)}; {', '.join(figures) or 'no figure'}",
        remedy="give more typical images, or quantize the .tflite: its layers can stay in float",
    )


def _warn(images: CalibrationImages) -> list[str]:
    found = warn_of_few_images(images.num_used)
    if images.skipped:
        found.append(f"left out {len(images.skipped)} broken calibration images")
    return found

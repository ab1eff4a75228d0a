"""From a float ``.tflite`` and a folder of photos to an integer one, without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data.preprocess import Preprocessor
from edgevision.errors import CalibrationError
from edgevision.graph.contracts import attach_contract
from edgevision.graph.detection_heads import name_outputs
from edgevision.outputs import atomic_path
from edgevision.quantization.agreement import measure_agreement, warn_of_collapse
from edgevision.quantization.bias_room import leave_bias_room
from edgevision.quantization.calibrate import Ranges, collect_ranges, find_input_range
from edgevision.quantization.diagnose import (
    LayerReport,
    OutputReport,
    measure_error,
    measure_outputs,
    measure_total_sqnr_db,
)
from edgevision.quantization.engine import load_engine, run_engine
from edgevision.quantization.equalize import equalize_activations
from edgevision.quantization.gate import check_drop, check_gate, compare_accuracy
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.repair import Repaired, StepReport, repair_network, run_network
from edgevision.quantization.result import QuantizationResult
from edgevision.quantization.schemes import SCHEMES, SchemeRow
from edgevision.quantization.shared_ranges import share_ranges
from edgevision.quantization.softmax import clip_logits
from edgevision.quantization.source import FloatModel, check_output, open_source
from edgevision.specs import Progress, Scheme, parse_choice
from edgevision.threads import resolve_threads

Array = np.ndarray[Any, Any]

FEW_IMAGES = 20
"""Below this many calibration images a warning is given."""


_GUARD_IMAGES = 64
_NOTHING_GAINED = "the repairs brought nothing on the calibration images and were left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to quantize.

    Attributes:
        row: The scheme.
        equalization: Whether activations are equalized between layers (int8 only).
        rounding: Whether weights are rounded against the layers' outputs.
        bias_correction: Whether biases are corrected.
        logit_clipping: Whether very small logits share one code (int8 activations only).
        threads: CPU threads.
        progress: Called while it works.
    """

    row: SchemeRow
    equalization: bool = True
    rounding: bool = True
    bias_correction: bool = True
    logit_clipping: bool = True
    threads: int = 1
    progress: Progress | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the layer-by-layer repairs to apply."""
        if not self.row.has_integer_weights:
            return ()
        chosen = {"rounding": self.rounding, "bias_correction": self.bias_correction}
        return tuple(name for name, wanted in chosen.items() if wanted)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """A quantized model in memory.

    Attributes:
        model: Bytes of the ``.tflite``, without the contract.
        sqnr_db: Of all outputs, each in its own scale.
        outputs: The same for each output.
        agreement: Share of equal answers on the kept images.
        layers: How each layer came out.
        repairs: What was applied.
        warnings: What a person should know.
    """

    model: bytes
    sqnr_db: float | None = None
    outputs: tuple[OutputReport, ...] = ()
    agreement: float | None = None
    layers: tuple[LayerReport, ...] = ()
    repairs: tuple[StepReport, ...] = ()
    warnings: tuple[str, ...] = ()


def quantize(
    model: str | Path,
    output: str | Path,
    *,
    calibration: str | Path | None = None,
    scheme: str = Scheme.INT8,
    eval_data: str | Path | None = None,
    max_drop: float | None = None,
    limit: int | None = None,
    equalization: bool = True,
    rounding: bool = True,
    bias_correction: bool = True,
    logit_clipping: bool = True,
    skip_broken: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    **contract: Any,
) -> QuantizationResult:
    """Quantize a float ``.tflite`` after training.

    What the steps cost and bring is in ``docs/quantization.md``; none of them changes how fast
    the file runs. The contract of the float file goes into the new one, and so does its ending: a
    detector that suppresses boxes itself still does, in float, behind integer heads with a scale
    each; one with raw heads has integer outputs, and so has a segmenter.

    Args:
        model: The float file: one float32 image as input, static shapes, batch 1.
        output: The file to write; an existing one stays untouched on failure.
        calibration: Folder of typical images, labels not needed; optional for ``dynamic`` and
            ``float16``, which then measure nothing.
        scheme: ``int8`` (weights per channel, int8 in and out), ``int8-per-tensor``, ``int16x8``,
            ``dynamic`` (int8 weights, float in and out) or ``float16``.
        eval_data: Labelled images on which both files are measured: top-1, mAP or mean IoU.
        max_drop: Percentage points of it that may be lost.
        limit: Use at most this many calibration images, evenly spaced.
        equalization: Scale channels between layers to use the activations' range (int8 only).
        rounding: Round weights against the layers' outputs instead of to nearest.
        bias_correction: Give every output channel the float network's mean.
        logit_clipping: Let very small logits share one code, for finer steps between the best
            answers (int8 activations only).
        skip_broken: Leave out images that can not be decoded, instead of failing.
        threads: CPU threads; by default the usable physical cores, at most 4.
        progress: Called while it works.
        **contract: What the file does not state, or states wrong: ``mean``, ``std``, ``resize``,
            ``crop_fraction``, ``color``, ``labels``, ``task``, ``scores``.

    Returns:
        Where the file is, and what it cost.

    Raises:
        MissingFileError: The model or a folder does not exist.
        InvalidModelError: The model is damaged, or quantized already.
        UnsupportedOpError: The model can not be quantized.
        DataError: An image is broken (it is named), or there is none.
        CalibrationError: An activation is NaN or infinite, or images are needed and not given.
        InvalidConfigError: An option is out of range.
        QualityGateError: ``max_drop`` is exceeded; no file is written.
        OutputError: The output can not be written.
        BackendUnavailableError: ai-edge-quantizer is not installed.
    """
    start = time.perf_counter()
    row = SCHEMES[parse_choice(Scheme, scheme, "scheme")]
    check_gate(eval_data, max_drop)
    options = Options(
        row=row,
        equalization=equalization,
        rounding=rounding,
        bias_correction=bias_correction,
        logit_clipping=logit_clipping,
        threads=resolve_threads(threads),
        progress=progress,
    )
    check_output(model, output)
    source = open_source(model, contract)
    images = _open_images(source, calibration, options, limit=limit, skip_broken=skip_broken)
    quantized = quantize_model(source, images, options)
    accuracy = None
    with atomic_path(output) as place:
        place.write_bytes(attach_contract(source.finish(quantized.model), source.contract))
        if eval_data is not None:
            accuracy = compare_accuracy(
                (source.path, place),
                eval_data,
                contract=contract,
                skip_broken=skip_broken,
                threads=threads,
                progress=progress,
            )
            if max_drop is not None:
                check_drop(accuracy, max_drop)
    return QuantizationResult(
        output=Path(output),
        scheme=options.row.scheme,
        seconds=time.perf_counter() - start,
        sqnr_db=quantized.sqnr_db,
        outputs=quantized.outputs,
        agreement=quantized.agreement,
        layers=quantized.layers,
        repairs=quantized.repairs,
        warnings=(
            *_warn_of_source(source, images),
            *quantized.warnings,
            *warn_of_collapse(source.contract.task, quantized.agreement),
        ),
        num_images=images.num_used if images else 0,
        skipped=tuple(images.skipped) if images else (),
        accuracy=accuracy,
    )


def quantize_model(
    source: FloatModel, images: CalibrationImages | None, options: Options
) -> Quantized:
    """Quantize in memory.

    Args:
        source: The float model.
        images: Calibration images; ``None`` where the scheme needs none.
        options: How.
    """
    with ThreadPoolExecutor(1) as pool:
        # The import takes a second, most of it beside the interpreter's work.
        engine = pool.submit(load_engine)
        if images is None:
            engine.result()
            return Quantized(model=run_engine(source.data, source.graph, options.row.scheme))
        batches = images.iterate(source.graph, options.threads, options.progress)
        ranges = collect_ranges(source.data, source.graph, batches)
    return _quantize_on(source, (images.kept, ranges), engine, options)


def _quantize_on(
    source: FloatModel, measured: tuple[Array, Ranges], engine: Future[Any], options: Options
) -> Quantized:
    """Make the plain and the repaired model, and keep the one that follows the float one better."""
    engine.result()
    kept, ranges = measured
    plain = _run(source.data, source, ranges, options.row)
    base, prepared, repairs = _prepare(source, kept, ranges, options)
    quantized = _run(base, source, prepared, options.row) if repairs else plain
    repaired = repair_network(
        (base, quantized),
        kept,
        steps=options.steps,
        threads=options.threads,
        progress=options.progress,
    )
    repairs.extend(repaired.steps)
    if repairs and _is_worse(repaired, plain, kept, options):
        repaired = repair_network((source.data, plain), kept, steps=(), threads=options.threads)
        return replace(_describe(source, repaired, ()), warnings=(_NOTHING_GAINED,))
    return _describe(source, repaired, repairs)


def _describe(source: FloatModel, repaired: Repaired, repairs: Sequence[StepReport]) -> Quantized:
    """Measure a quantized network against the float one."""
    expected, outputs = repaired.expected, repaired.outputs
    answers, anchors = (expected, outputs), source.body.anchors
    return Quantized(
        model=repaired.model,
        sqnr_db=measure_total_sqnr_db(expected, outputs),
        outputs=measure_outputs(name_outputs(source.graph), expected, outputs),
        agreement=measure_agreement(source.contract, source.graph, answers, anchors=anchors),
        layers=repaired.layers,
        repairs=tuple(repairs),
    )


def _prepare(
    source: FloatModel, kept: Array, ranges: Ranges, options: Options
) -> tuple[bytes, Ranges, list[StepReport]]:
    """Apply the steps that change the float model or its ranges before the engine runs."""
    model, reports = source.data, list[StepReport]()
    start = time.perf_counter()
    if options.equalization and options.row.scheme is Scheme.INT8:
        model, ranges, changed = equalize_activations(model, source.graph, ranges)
        seconds = time.perf_counter() - start
        if changed:
            reports.append(StepReport(step="equalization", layers=changed, seconds=seconds))
    start = time.perf_counter()
    if options.logit_clipping and options.row.activation_bits == 8:
        narrowed = clip_logits(source.data, source.graph, kept, ranges=ranges)
        changed = sum(narrowed[t].bounds() != ranges[t].bounds() for t in ranges)
        seconds = time.perf_counter() - start
        if changed:
            reports.append(StepReport(step="logit_clipping", layers=changed, seconds=seconds))
        ranges = narrowed
    return model, ranges, reports


def _is_worse(repaired: Repaired, plain: bytes, kept: Array, options: Options) -> bool:
    """Whether the repairs as a whole made the answers worse than the plain model's."""
    some = slice(None, None, -(-len(kept) // _GUARD_IMAGES))
    answers = run_network(plain, kept[some], threads=options.threads)
    expected, outputs = ([v[some] for v in side] for side in (repaired.expected, repaired.outputs))
    return measure_error(expected, outputs) > measure_error(expected, answers)


def _run(model: bytes, source: FloatModel, ranges: Ranges, row: SchemeRow) -> bytes:
    """Run the engine with our ranges; the input's is what all pixel values give."""
    if not row.needs_ranges:
        return run_engine(model, source.graph, row.scheme)
    if row.activation_bits == 8:
        ranges = leave_bias_room(source.graph, share_ranges(source.graph, ranges))
    bounds = {index: seen.bounds() for index, seen in ranges.items()}
    bounds[source.graph.inputs[0]] = find_input_range(source.contract.preprocessing)
    return run_engine(model, source.graph, row.scheme, bounds=bounds)


def _open_images(
    source: FloatModel,
    calibration: str | Path | None,
    options: Options,
    *,
    limit: int | None,
    skip_broken: bool,
) -> CalibrationImages | None:
    if calibration is None:
        if options.row.needs_ranges:
            raise CalibrationError(
                f"{options.row.scheme} needs calibration images",
                remedy="name a folder of typical photos with --calibration",
            )
        return None
    preprocessor = Preprocessor(source.contract.preprocessing, source.graph.input_specs()[0])
    return CalibrationImages(calibration, preprocessor, limit=limit, skip_broken=skip_broken)


def _warn_of_source(source: FloatModel, images: CalibrationImages | None) -> list[str]:
    found = []
    if source.contract.assumed:
        names = ", ".join(name.rpartition(".")[2] for name in source.contract.assumed)
        found.append(f"the file does not state its {names}: assumed the usual values")
    if images is not None and images.num_used < FEW_IMAGES:
        count = images.num_used
        found.append(
            f"only {count} calibration image{'s' if count > 1 else ''}: ranges from fewer than "
            f"{FEW_IMAGES} are uncertain, about 100 are good"
        )
    if images is not None and not images.has_contrast:
        found.append(
            "every calibration image is of one colour, so that ranges mean little: use photos like "
            "those that the model will see"
        )
    if images is not None and images.skipped:
        found.append(f"left out {len(images.skipped)} broken calibration images")
    return found

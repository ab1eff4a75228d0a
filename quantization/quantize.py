"""From a float file and a folder of photos to an integer one, without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.errors import CalibrationError, InvalidConfigError
from edgevision.graph.contracts import attach_contract
from edgevision.outputs import atomic_path
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.agreement import check_collapse
from edgevision.quantization.cache import find_cache_folder
from edgevision.quantization.data_free.pipeline import (
    choose_steps_without_images,
    quantize_without_images,
)
from edgevision.quantization.diagnosis.diagnosis import Diagnosis, diagnose_networks
from edgevision.quantization.edgetpu import check_edgetpu
from edgevision.quantization.gate import AccuracyMeter, EvalData, check_drop
from edgevision.quantization.images import CalibrationImages, open_images
from edgevision.quantization.pipeline import Options, Quantized, prepare_model, quantize_model
from edgevision.quantization.qdq.pipeline import (
    check_onnx_options,
    open_onnx,
    quantize_onnx,
)
from edgevision.quantization.ranges.narrow import choose_method
from edgevision.quantization.result import QuantizationResult
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.search import Found, search_target
from edgevision.quantization.source import FloatModel, check_output, open_source
from edgevision.quantization.steps import Step, choose_steps
from edgevision.quantization.target import Target
from edgevision.quantization.unsigned import check_unsigned, make_unsigned
from edgevision.specs import Lift, Progress, RangeMethod, Scheme, parse_choice
from edgevision.threads import resolve_threads


def quantize(
    model: str | Path,
    output: str | Path,
    *,
    calibration: str | Path | None = None,
    batch_norm: str | Path | None = None,
    scheme: str = Scheme.INT8,
    unsigned: bool = False,
    eval_data: str | Path | None = None,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    budget_s: float | None = None,
    lift: str = Lift.FLOAT,
    limit: int | None = None,
    steps: Sequence[str] | None = None,
    rounding_seconds: float | None = None,
    ranges: str = RangeMethod.MINMAX,
    diagnose: bool = False,
    skip_broken: bool = False,
    cache: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
    **contract: Any,
) -> QuantizationResult:
    """Quantize a float ``.tflite`` or ``.onnx`` after training.

    What the steps cost and bring is in ``docs/quantization.md``; none of them changes how fast
    the file runs. The contract of the float file goes into the new one, and so does its ending: a
    detector that suppresses boxes itself still does, in float, behind integer heads with a scale
    each; one with raw heads has integer outputs, and so has a segmenter.

    Args:
        model: The float file: one float32 image as input, static shapes, batch 1. An ``.onnx``
            (classifier or segmenter) gives a QDQ ``.onnx`` with float inputs and outputs, for
            ``int8`` and ``int8-per-tensor``, with the steps of layers.
        output: The file to write; an existing one stays untouched on failure.
        calibration: Folder of typical images, labels not needed; optional for ``dynamic`` and
            ``float16``, which then measure nothing.
        batch_norm: The Keras file (``.keras``, ``.h5``) that the model was converted from: ranges
            and biases from its batch normalizations, and no images at all; for ``int8`` and
            ``int8-per-tensor``.
        scheme: ``int8`` (weights per channel, int8 in and out), ``int8-per-tensor``, ``int16x8``,
            ``dynamic`` (int8 weights, float in and out), ``float16``, or ``edgetpu`` (int8 as its
            compiler takes it; what would stay on the CPU is among the warnings).
        unsigned: Inputs and outputs are uint8 instead of int8.
        eval_data: Labelled images on which both files are measured: top-1, mAP or mean IoU.
        max_drop: Percentage points of it that may be lost. Where the default loses more, the layers
            that cost most are lifted, as few as possible.
        min_agreement: The same without labels: share of the float model's answers, 0 to 1, that has
            to stay on the calibration images. A detector or segmenter that keeps hardly any is
            refused unless this allows it.
        budget_s: Seconds after which no further file is tried for these two.
        lift: What layers are lifted to for them: ``float``, or ``int16`` activations beside int8
            weights, for devices without floats; a CPU runs those many times slower.
        limit: Use at most this many calibration images, evenly spaced.
        steps: Names of ``Step``, what is done to keep the accuracy; by default everything that is
            for the scheme, an empty list nothing.
        rounding_seconds: Time for learned rounding: weights are rounded again from other starts,
            and each row keeps the best, until that gains nothing or the time is over; of every
            file that a search tries. By default one solution is taken.
        ranges: How the ranges of 8-bit activations are chosen: ``minmax``, the true extremes;
            ``percentile``, ``entropy`` or ``mse``, which give up rare peaks for finer steps; or
            ``auto``, the best of them for each tensor where that helps the whole network.
        diagnose: Measure every layer alone and behind all others, and tell why it lost what; takes
            a few seconds more, and images.
        skip_broken: Leave out images that can not be decoded, instead of failing.
        cache: Keep what was measured on the calibration images, where that takes long, for the
            next run with the same model and images (``EDGEVISION_CACHE`` names the folder).
        threads: CPU threads; by default the usable physical cores, at most 4.
        progress: Called while it works.
        **contract: What the file does not state, or states wrong: ``mean``, ``std``, ``resize``,
            ``crop_fraction``, ``color``, ``labels``, ``task``, ``scores``.

    Returns:
        Where the file is, and what it cost.

    Raises:
        MissingFileError: The model or a folder does not exist.
        InvalidModelError: The model is damaged, or quantized already.
        UnsupportedOpError: The model can not be quantized, or the Edge TPU takes nothing of it.
        DataError: An image is broken (it is named), or there is none.
        CalibrationError: An activation is NaN or infinite, or images are needed and not given.
        InvalidConfigError: An option is out of range.
        QualityGateError: The target can not be reached, or a detector or segmenter collapsed; no
            file is written.
        OutputError: The output can not be written.
        BackendUnavailableError: ai-edge-quantizer is not installed.
    """
    start = time.perf_counter()
    row = SCHEMES[parse_choice(Scheme, scheme, "scheme")]
    check_unsigned(row, wanted=unsigned)
    target = Target(
        max_drop=max_drop,
        min_agreement=min_agreement,
        budget_s=budget_s,
        lift=parse_choice(Lift, lift, "lift"),
    )
    target.check(row, has_labels=eval_data is not None, has_images=calibration is not None)
    options = Options(
        row=row,
        steps=_choose_steps(row.scheme, steps, without_images=batch_norm is not None),
        rounding_seconds=rounding_seconds,
        ranges=choose_method(row, ranges),
        batch_norm=None if batch_norm is None else Path(batch_norm),
        cache=find_cache_folder() if cache else None,
        threads=resolve_threads(threads),
        progress=progress,
    )
    _check_rounding_time(options, has_images=calibration is not None)
    check_output(model, output)
    data = None
    if eval_data is not None:
        data = EvalData(
            folder=eval_data,
            contract=contract,
            skip_broken=skip_broken,
            threads=threads,
            progress=progress,
        )
    if Path(model).suffix.lower() == ".onnx":
        check_onnx_options(options, steps, target=target, unsigned=unsigned, diagnose=diagnose)
        onnx_source = open_onnx(Path(model), contract)
        if calibration is None:
            raise _miss_images(row.scheme)
        photos = open_images(
            onnx_source.contract,
            onnx_source.graph,
            calibration,
            limit=limit,
            skip_broken=skip_broken,
        )
        return quantize_onnx(
            onnx_source, Path(output), photos, options=options, target=target, data=data
        )
    source = open_source(model, contract)
    images = _open_images(source, calibration, options, limit=limit, skip_broken=skip_broken)
    meter = None if data is None else AccuracyMeter(source.path, data)
    packer = _Packer(source=source, unsigned=unsigned, meter=meter)
    found = _make(source, images, options, target=target, packer=packer)
    quantized, accuracy = found.quantized, found.accuracy
    if min_agreement is None:
        check_collapse(source.contract.task, quantized.agreement)
    diagnosis = _diagnose(quantized, images, options) if diagnose else None
    packed = packer.pack(quantized)
    placement = check_edgetpu(packed) if row.scheme is Scheme.EDGETPU else ()
    with atomic_path(output) as place:
        place.write_bytes(packed)
    return QuantizationResult(
        output=Path(output),
        scheme=options.row.scheme,
        seconds=time.perf_counter() - start,
        sqnr_db=quantized.sqnr_db,
        outputs=quantized.outputs,
        agreement=quantized.agreement,
        layers=quantized.layers,
        repairs=quantized.repairs,
        ranges=quantized.ranges,
        calibration=quantized.calibration,
        warnings=(
            *_warn_of_source(source, images),
            *quantized.warnings,
            *placement,
        ),
        num_images=images.num_used if images else 0,
        skipped=tuple(images.skipped) if images else (),
        accuracy=accuracy,
        search=found.report,
        diagnosis=diagnosis,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Packer:
    """Makes files of quantized networks, and measures them."""

    source: FloatModel
    unsigned: bool
    meter: AccuracyMeter | None

    def pack(self, quantized: Quantized) -> bytes:
        """Return the whole file, with ending and contract."""
        data = self.source.finish(quantized.model)
        return attach_contract(make_unsigned(data) if self.unsigned else data, self.source.contract)

    def measure(self, quantized: Quantized) -> Accuracy | None:
        """Return the accuracy on labelled images, where there are any."""
        return self.meter.measure(self.pack(quantized)) if self.meter else None


def _make(
    source: FloatModel,
    images: CalibrationImages | None,
    options: Options,
    *,
    target: Target,
    packer: _Packer,
) -> Found:
    """Quantize, and search where a target is set."""
    if images is not None and target.is_set:
        prepared = prepare_model(source, images, options)
        return search_target(prepared, target, packer.measure, keeps_outputs=packer.unsigned)
    if options.batch_norm is None:
        quantized = quantize_model(source, images, options)
    else:
        quantized = quantize_without_images(source, options.batch_norm, options)
    accuracy = packer.measure(quantized)
    if accuracy is not None and target.max_drop is not None:
        check_drop(accuracy, target.max_drop)
    return Found(quantized=quantized, accuracy=accuracy, report=None)


def _check_rounding_time(options: Options, *, has_images: bool) -> None:
    seconds = options.rounding_seconds
    if seconds is None:
        return
    if not seconds > 0:
        raise InvalidConfigError(
            "rounding takes a number of seconds above 0", received=f"rounding_seconds={seconds}"
        )
    if not has_images or Step.ROUNDING not in options.steps:
        raise InvalidConfigError(
            "time for rounding is for the step rounding, on calibration images",
            received=f"rounding_seconds={seconds}, scheme={options.row.scheme}",
            remedy="give --calibration, a scheme with integer weights, and let --steps hold "
            "rounding; or leave it out",
        )


def _choose_steps(
    scheme: Scheme, names: Sequence[str] | None, *, without_images: bool
) -> tuple[Step, ...]:
    choose = choose_steps_without_images if without_images else choose_steps
    return choose(scheme, names)


def _miss_images(scheme: Scheme) -> CalibrationError:
    return CalibrationError(
        f"{scheme} needs calibration images",
        remedy="name a folder of typical photos with --calibration",
    )


def _open_images(
    source: FloatModel,
    calibration: str | Path | None,
    options: Options,
    *,
    limit: int | None,
    skip_broken: bool,
) -> CalibrationImages | None:
    if options.batch_norm is not None:
        _check_needs_no_images(calibration, options.ranges)
        return None
    if calibration is None:
        if options.row.needs_ranges:
            raise CalibrationError(
                f"{options.row.scheme} needs calibration images",
                remedy="name a folder of typical photos with --calibration, or the Keras model "
                "with --batch-norm",
            )
        return None
    return open_images(
        source.contract, source.graph, calibration, limit=limit, skip_broken=skip_broken
    )


def _check_needs_no_images(calibration: str | Path | None, ranges: RangeMethod) -> None:
    if calibration is not None:
        raise InvalidConfigError(
            "ranges come from images or from batch normalization, not from both",
            received=f"calibration={calibration}",
            remedy="leave one of them out",
        )
    if ranges is not RangeMethod.MINMAX:
        raise InvalidConfigError(
            "how ranges are chosen is for images",
            received=f"ranges={ranges}",
            remedy="leave it out",
        )


def _diagnose(
    quantized: Quantized, images: CalibrationImages | None, options: Options
) -> Diagnosis:
    """Measure every layer against the float network that was quantized at last."""
    if images is None:
        raise CalibrationError(
            "a diagnosis needs calibration images",
            remedy="name a folder of typical photos with --calibration",
        )
    return diagnose_networks(
        (quantized.reference, quantized.model),
        images.kept,
        threads=options.threads,
        progress=options.progress,
    )


def _warn_of_source(source: FloatModel, images: CalibrationImages | None) -> list[str]:
    found = []
    if source.contract.assumed:
        names = ", ".join(name.rpartition(".")[2] for name in source.contract.assumed)
        found.append(f"the file does not state its {names}: assumed the usual values")
    if images is not None and images.skipped:
        found.append(f"left out {len(images.skipped)} broken calibration images")
    return found

"""From a float file and a folder of photos to an integer one, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.quantization.cache import find_cache_folder
from edgevision.quantization.data_free.pipeline import choose_steps_without_images
from edgevision.quantization.gate import EvalData
from edgevision.quantization.pipeline import Options
from edgevision.quantization.qdq.pipeline import quantize_onnx
from edgevision.quantization.quantize_tflite import quantize_tflite
from edgevision.quantization.ranges.narrow import choose_method
from edgevision.quantization.request import Request
from edgevision.quantization.result import QuantizationResult
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.source import check_output
from edgevision.quantization.steps import Step, choose_steps, names_wanted
from edgevision.quantization.target import Target
from edgevision.quantization.unsigned import check_unsigned
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
            gives a QDQ ``.onnx`` with float inputs and outputs, for ``int8`` and
            ``int8-per-tensor``, with all steps but the rewrites.
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
    row = SCHEMES[parse_choice(Scheme, scheme, "scheme")]
    check_unsigned(row, wanted=unsigned)
    target = Target(
        max_drop=max_drop,
        min_agreement=min_agreement,
        budget_s=budget_s,
        lift=parse_choice(Lift, lift, "lift"),
    )
    target.check(row, has_labels=eval_data is not None, has_images=calibration is not None)
    choose = choose_steps if batch_norm is None else choose_steps_without_images
    options = Options(
        row=row,
        steps=choose(row.scheme, steps),
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
    request = Request(
        model=Path(model),
        output=Path(output),
        options=options,
        named_steps=names_wanted(steps),
        target=target,
        calibration=calibration,
        limit=limit,
        skip_broken=skip_broken,
        data=data,
        contract=contract,
        unsigned=unsigned,
        diagnose=diagnose,
    )
    make = quantize_onnx if request.model.suffix.lower() == ".onnx" else quantize_tflite
    return make(request)


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

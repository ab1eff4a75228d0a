"""All steps in order, in memory: rewrites, ranges, float steps, engine, layer steps, guard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.graph.detection_heads import name_outputs
from edgevision.quantization.added_channels import tell_growth
from edgevision.quantization.advisor import CalibrationReport, review_calibration
from edgevision.quantization.agreement import measure_agreement
from edgevision.quantization.answers import run_network
from edgevision.quantization.bias_overflow import fit_biases
from edgevision.quantization.bias_room import leave_bias_room
from edgevision.quantization.cache import CalibrationCache
from edgevision.quantization.calibrate import Calibration, calibrate, find_input_range
from edgevision.quantization.diagnose import (
    LayerReport,
    OutputReport,
    measure_error,
    measure_outputs,
    measure_total_sqnr_db,
)
from edgevision.quantization.engine import load_engine, run_engine
from edgevision.quantization.gates import raise_floors
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.islands import Island
from edgevision.quantization.network import N, Network
from edgevision.quantization.ranges.narrow import RangeReport, narrow_ranges
from edgevision.quantization.repair import Repaired, repair_network
from edgevision.quantization.rewrites.equivalence import is_equivalent
from edgevision.quantization.schemes import SchemeRow
from edgevision.quantization.shared_ranges import share_ranges
from edgevision.quantization.source import FloatModel
from edgevision.quantization.steps import FLOAT_STEPS, LAYER_STEPS, REWRITES, Step, StepReport
from edgevision.specs import Progress, RangeMethod

Array = np.ndarray[Any, Any]

# Share of answers that may change by chance: single images on the edge between two classes.
_AGREEMENT_SLACK = 0.02
_NOT_EQUIVALENT = (
    "the rewritten network does not give the float model's answers on the calibration images, so "
    "that it was quantized as it is: please report the model"
)

NOTHING_GAINED = "the repairs brought nothing on the calibration images and were left out"
"""What is said where plain quantization was as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to quantize.

    Attributes:
        row: The scheme.
        steps: What is done to keep the float network's answers.
        rounding_seconds: That learned rounding may take in each file; ``None`` for one solution.
        ranges: How the ranges of activations are chosen.
        batch_norm: Keras file that tells ranges and means instead of images.
        cache: Folder of measurements on calibration images; ``None`` keeps none.
        threads: CPU threads.
        progress: Called while it works.
    """

    row: SchemeRow
    steps: tuple[Step, ...] = ()
    rounding_seconds: float | None = None
    ranges: RangeMethod = RangeMethod.MINMAX
    batch_norm: Path | None = None
    cache: Path | None = None
    threads: int = 1
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """A quantized model in memory.

    Attributes:
        model: Bytes of the ``.tflite``, without the contract.
        reference: The float network that it was made from, after all float steps; empty without
            images.
        sqnr_db: Of all outputs, each in its own scale.
        outputs: The same for each output.
        agreement: Share of equal answers on the kept images.
        layers: How each layer came out.
        repairs: What was applied.
        ranges: How the ranges were chosen.
        calibration: What was seen of the images; ``None`` without.
        warnings: What a person should know.
    """

    model: bytes
    reference: bytes = b""
    sqnr_db: float | None = None
    outputs: tuple[OutputReport, ...] = ()
    agreement: float | None = None
    layers: tuple[LayerReport, ...] = ()
    repairs: tuple[StepReport, ...] = ()
    ranges: RangeReport = field(default_factory=RangeReport)
    calibration: CalibrationReport | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A float network that is ready for the engine; a search makes more than one file of it.

    Attributes:
        source: The float model.
        options: How to quantize.
        network: Rewritten, with the ranges measured.
        final: The same after all float steps.
        kept: (N, *input shape) float32, the images of the repairs.
        reports: What was applied.
        ranges: How the ranges were chosen.
        calibration: What was seen of the images.
        warnings: What a person should know.
    """

    source: FloatModel
    options: Options
    network: Network
    final: Network
    kept: Array
    reports: tuple[StepReport, ...]
    ranges: RangeReport
    calibration: CalibrationReport
    warnings: tuple[str, ...] = ()


def quantize_model(
    source: FloatModel, images: CalibrationImages | None, options: Options
) -> Quantized:
    """Quantize in memory.

    Args:
        source: The float model.
        images: Calibration images; ``None`` where the scheme needs none.
        options: How.
    """
    if images is not None:
        return build_model(prepare_model(source, images, options))
    network, rewrites = rewrite_network(source, options)
    model = run_engine(network.model, network.graph, options.row.scheme)
    return Quantized(model=model, repairs=tuple(rewrites))


def prepare_model(source: FloatModel, images: CalibrationImages, options: Options) -> Prepared:
    """Rewrite, measure ranges and apply the float steps."""
    network, rewrites = rewrite_network(source, options)
    with ThreadPoolExecutor(2) as pool:
        # The import takes a second, most of it beside the interpreter's work.
        engine = pool.submit(load_engine)
        seen, keep = _calibrate(source, network, images, options)
        if keep is not None:
            pool.submit(keep)
        if rewrites and not is_equivalent(source.data, network.model, images.kept):
            return _prepare_unchanged(source, images, options)
        review = review_calibration(network, images, seen, source.contract.preprocessing)
        network = network.with_ranges(raise_floors(network.graph, seen.ranges))
        engine.result()
        final, changes = prepare_network(network, images.kept, options.steps)
        final, chosen = _narrow(source, final, images.kept, options)
    return Prepared(
        source=source,
        options=options,
        network=network,
        final=final,
        kept=images.kept,
        reports=(*rewrites, *changes),
        ranges=chosen,
        calibration=review,
        warnings=review.warnings,
    )


def build_model(prepared: Prepared, island: Island | None = None) -> Quantized:
    """Make the integer model of a prepared network.

    Args:
        prepared: The network.
        island: Operations of ``prepared.final`` that have more than 8 bits.

    Returns:
        The plain or the repaired model, whichever follows the float one better.
    """
    source, options, kept = prepared.source, prepared.options, prepared.kept
    plain = make_integer(source, prepared.network, options.row, island)
    changed = any(r.step in FLOAT_STEPS for r in prepared.reports) or prepared.ranges.narrowed > 0
    quantized = make_integer(source, prepared.final, options.row, island) if changed else plain
    steps = [step for step in LAYER_STEPS if step in options.steps]
    repaired = repair_network(
        (prepared.final.model, quantized),
        kept,
        steps=steps,
        rounding_seconds=options.rounding_seconds,
        threads=options.threads,
        progress=options.progress,
    )
    network, ranges, warnings = prepared.final, prepared.ranges, prepared.warnings
    reports: tuple[StepReport, ...] = (*prepared.reports, *repaired.steps)
    if (changed or steps) and _is_worse(prepared, repaired, plain):
        network, ranges = prepared.network, replace(ranges, narrowed=0)
        repaired = repair_network((network.model, plain), kept, steps=(), threads=options.threads)
        reports = tuple(r for r in prepared.reports if r.step in REWRITES)
        warnings = (*warnings, NOTHING_GAINED)
    return replace(
        _describe(source, network, repaired),
        repairs=reports,
        ranges=ranges,
        calibration=prepared.calibration,
        warnings=(*warnings, *tell_growth(prepared.network.graph, network.graph)),
    )


def _prepare_unchanged(source: FloatModel, images: CalibrationImages, options: Options) -> Prepared:
    """Prepare without rewrites, and say so."""
    kept = tuple(step for step in options.steps if step not in REWRITES)
    prepared = prepare_model(source, images, replace(options, steps=kept))
    return replace(prepared, warnings=(*prepared.warnings, _NOT_EQUIVALENT))


def _calibrate(
    source: FloatModel, network: Network, images: CalibrationImages, options: Options
) -> tuple[Calibration, Callable[[], bool] | None]:
    """Measure the network on the images, or find what was measured before.

    Returns:
        What was measured, and how to keep it for the next run; ``None`` where that is not wanted.
    """
    cache = None
    if options.cache is not None:
        preprocessing = source.contract.preprocessing
        cache = CalibrationCache(options.cache, network.model, images, preprocessing=preprocessing)
        found = cache.load(images)
        if found is not None:
            return found, None
    batches = images.iterate(network.graph, options.threads, options.progress)
    seen = calibrate(network.model, network.graph, batches, threads=options.threads)
    return seen, None if cache is None else partial(cache.store, images, seen)


def rewrite_network(source: FloatModel, options: Options) -> tuple[Network, list[StepReport]]:
    """Bring a float network into the form whose ranges are measured."""
    network = Network(model=source.data, graph=source.graph)
    reports = list[StepReport]()
    for step, rewrite in REWRITES.items():
        if step in options.steps:
            network, report = _apply(step, rewrite, network)
            reports.extend(report)
    return network, reports


def prepare_network(network: N, images: Array, steps: Sequence[Step]) -> tuple[N, list[StepReport]]:
    """Apply the steps that change the float network or its ranges before the engine runs.

    Args:
        network: With its ranges.
        images: (N, *input shape) float32.
        steps: Those of ``FLOAT_STEPS`` to apply.
    """
    reports = list[StepReport]()
    for step, change in FLOAT_STEPS.items():
        if step in steps:
            network, report = _apply(step, change, network, images)
            reports.extend(report)
    return network, reports


def make_integer(
    source: FloatModel, network: Network, row: SchemeRow, island: Island | None = None
) -> bytes:
    """Run the engine with a network's ranges; the input's is what all pixel values give.

    Args:
        source: The float model.
        network: With its ranges.
        row: The scheme.
        island: Operations that have more than 8 bits.
    """
    graph, ranges = network.graph, network.ranges
    if not row.needs_ranges:
        return run_engine(network.model, graph, row.scheme)
    if row.activation_bits == 8:
        ranges = leave_bias_room(graph, share_ranges(graph, ranges))
    bounds = {index: seen.bounds() for index, seen in ranges.items()}
    bounds[graph.inputs[0]] = find_input_range(source.contract.preprocessing)
    model = run_engine(network.model, graph, row.scheme, bounds=bounds, island=island)
    return fit_biases(model, graph)


def _narrow(
    source: FloatModel, network: Network, kept: Array, options: Options
) -> tuple[Network, RangeReport]:
    """Narrow the ranges as the options say; ``auto`` tries them with the layers' repairs."""

    def make(candidate: Network, images: Array) -> bytes:
        quantized = make_integer(source, candidate, options.row)
        return repair_network(
            (candidate.model, quantized),
            images,
            steps=[step for step in LAYER_STEPS if step in options.steps],
            threads=options.threads,
        ).model

    return narrow_ranges(network, kept, options.ranges, trial=make, threads=options.threads)


def _apply(
    step: Step, change: Callable[..., tuple[N, int]], network: N, *more: Any
) -> tuple[N, list[StepReport]]:
    """Apply a step; a report where it changed something."""
    start = time.perf_counter()
    network, changed = change(network, *more)
    seconds = time.perf_counter() - start
    return network, [StepReport(step=step, layers=changed, seconds=seconds)] if changed else []


def _describe(source: FloatModel, network: Network, repaired: Repaired) -> Quantized:
    """Measure a quantized network against the float one."""
    expected, outputs = repaired.expected, repaired.outputs
    answers, anchors = (expected, outputs), source.body.anchors
    return Quantized(
        model=repaired.model,
        reference=network.model,
        sqnr_db=measure_total_sqnr_db(expected, outputs),
        outputs=measure_outputs(name_outputs(network.graph), expected, outputs),
        agreement=measure_agreement(source.contract, network.graph, answers, anchors=anchors),
        layers=repaired.layers,
    )


def is_worse(
    repaired: Repaired, plain: Sequence[Array], compare: Callable[[Sequence[Array]], float | None]
) -> bool:
    """Tell whether the repairs as a whole made the answers worse than the plain model's.

    Noise alone does not tell: a network may come closer on average and still answer otherwise.

    Args:
        repaired: What the float and the repaired network answer.
        plain: (N, *shape) of each output of the plain one.
        compare: Gives the share of the float network's answers that outputs keep, where it can.
    """
    if measure_error(repaired.expected, repaired.outputs) > measure_error(repaired.expected, plain):
        return True
    before, after = compare(plain), compare(repaired.outputs)
    return before is not None and after is not None and after < before - _AGREEMENT_SLACK


def _is_worse(prepared: Prepared, repaired: Repaired, plain: bytes) -> bool:
    source = prepared.source
    answers = run_network(plain, prepared.kept, threads=prepared.options.threads)

    def compare(outputs: Sequence[Array]) -> float | None:
        pair = (repaired.expected, outputs)
        return measure_agreement(source.contract, source.graph, pair, anchors=source.body.anchors)

    return is_worse(repaired, answers, compare)

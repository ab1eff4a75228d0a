"""The check after every conversion: do the source and the new file give the same numbers?

Both run on the same inputs: photographs where a folder is given, otherwise generated ones (drawn
scenes, smooth noise and plain noise, from a fixed seed).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract
from edgevision.data.images import decode_image, list_images, spread_evenly
from edgevision.data.preprocess import Preprocessor
from edgevision.data.scenes import draw_scene
from edgevision.errors import DataError, InvalidModelError, QualityGateError
from edgevision.metrics.classification import sqnr_db
from edgevision.specs import Precision, Progress, Task, TensorSpec

Arrays = Mapping[str, NDArray[Any]]

# Largest error allowed, relative to the largest output of the source. Float32 leaves room for sums
# in another order through a hundred layers, float16 for weights rounded to 11 bits.
TOLERANCES: Mapping[Precision, float] = {Precision.FLOAT32: 2e-4, Precision.FLOAT16: 1e-2}
# Integer networks: two runtimes may round every intermediate value to neighbouring codes.
QUANTIZED_TOLERANCE = 0.1
# Class maps: pixels at a border whose two best scores are equal up to rounding may fall either way.
MIN_EQUAL_PIXELS = 0.999
MIN_EQUAL_PIXELS_QUANTIZED = 0.98
NUM_GENERATED = 6
MAX_IMAGES = 32
_UNSTABLE = "check the model for random or unstable operations"
_SEED = 20
_IMAGE_RANK = 4
_TURNS = ((0, 3, 1, 2), (0, 2, 3, 1))


class Runner(Protocol):
    """Anything that maps named arrays to named arrays: a session or a frozen model."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What ``run`` takes."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What ``run`` returns."""

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far the new file is from its source.

    Attributes:
        max_abs_error: Largest difference of any output number.
        max_relative_error: The same, relative to the largest number of that output of the source;
            of the output where it is worst.
        sqnr_db: Signal to noise, decibels, of the output where it is worst.
        top1_agreement: Share of equal answers of a classifier, otherwise ``None``.
        pixel_agreement: Share of equal class numbers of a segmenter that answers them, otherwise
            ``None``; they take no part in the errors.
        samples: Inputs compared.
        inputs: ``folder`` or ``generated``.
        tolerance: Limit of ``max_relative_error``.
        min_pixel_agreement: Limit of ``pixel_agreement``.
        skipped: Broken photographs that were left out, as sentences.
    """

    max_abs_error: float
    max_relative_error: float
    sqnr_db: float
    top1_agreement: float | None
    pixel_agreement: float | None
    samples: int
    inputs: str
    tolerance: float
    min_pixel_agreement: float = MIN_EQUAL_PIXELS
    skipped: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance, and enough pixels are equal."""
        equal = self.pixel_agreement is None or self.pixel_agreement >= self.min_pixel_agreement
        return equal and self.max_relative_error <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "skipped": list(self.skipped), "passed": self.passed}


def check_parity(
    source: Runner,
    converted: Runner,
    *,
    contract: Contract,
    precision: Precision,
    quantized: bool = False,
    folder: str | Path | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> Parity:
    """Run both models on the same inputs and compare their outputs.

    Inputs and outputs are paired by order; an image input may be NHWC on one side and NCHW on the
    other.

    Args:
        source: The model that is right.
        converted: The new file.
        contract: How photographs become the input.
        precision: Chooses the tolerance.
        quantized: Whether the network computes in integers.
        folder: Photographs to use, 32 at the most, evenly spaced.
        skip_broken: Leave out photographs that can not be decoded, instead of failing.
        progress: Called for every input.

    Raises:
        QualityGateError: The outputs differ by more than the tolerance.
        InvalidModelError: The outputs can not be compared.
        DataError: The folder holds no image, or one is broken, or all of them are.
    """
    skipped = list[str]()
    images = _iterate_images(folder, skipped, skip_broken=skip_broken)
    samples = list(draw_inputs(source.inputs, contract, images))
    if not samples:
        raise DataError("no image can be read", received=f"{folder}, {skipped[0]}")
    pairs = []
    for done, sample in enumerate(samples, start=1):
        pairs.append(_run_both(source, converted, sample))
        if progress is not None:
            progress("checking", done, len(samples))
    parity = _compare(
        [
            (np.stack(e), np.stack(r))
            for e, r in (zip(*p, strict=True) for p in zip(*pairs, strict=True))
        ],
        contract.task,
        quantized=quantized,
        inputs="generated" if folder is None else "folder",
        tolerance=QUANTIZED_TOLERANCE if quantized else TOLERANCES[precision],
        skipped=tuple(skipped),
    )
    if not parity.passed:
        raise QualityGateError(
            "the converted model does not answer like its source",
            received=_describe_failure(parity),
            remedy=f"nothing was written; {_UNSTABLE}",
        )
    return parity


def _describe_failure(parity: Parity) -> str:
    if parity.pixel_agreement is not None and parity.max_relative_error <= parity.tolerance:
        return (
            f"{parity.pixel_agreement:.2%} of the pixels are equal, "
            f"{parity.min_pixel_agreement:.2%} are needed"
        )
    return (
        f"largest error {parity.max_relative_error:.3g} of the largest output, "
        f"allowed {parity.tolerance:g}"
    )


def _run_both(
    source: Runner, converted: Runner, sample: Arrays
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return what both give for each output, in the same order and shape."""
    given = source.run(sample)
    received = converted.run(_rename(sample, source.inputs, converted.inputs))
    expected = [given[spec.name] for spec in source.outputs]
    matched = _match_outputs(
        expected,
        {spec.name: received[spec.name] for spec in converted.outputs},
        [spec.name for spec in source.outputs],
    )
    return list(zip(expected, matched, strict=True))


def _rename(sample: Arrays, own: Sequence[TensorSpec], other: Sequence[TensorSpec]) -> Arrays:
    """Feed by name where the names agree, otherwise by order; turn to NCHW where that is asked."""
    if len(own) != len(other):
        raise InvalidModelError(
            "the two models take different inputs", received=f"{len(own)} and {len(other)} inputs"
        )
    if {s.name for s in own} == {s.name for s in other}:
        return {s.name: _to_layout(sample[s.name], s.shape) for s in other}
    pairs = zip(own, other, strict=True)
    return {theirs.name: _to_layout(sample[mine.name], theirs.shape) for mine, theirs in pairs}


def _to_layout(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if array.shape == shape or array.ndim != _IMAGE_RANK:
        return array
    for axes in _TURNS:
        if tuple(array.shape[a] for a in axes) == shape:
            return np.ascontiguousarray(array.transpose(axes))
    return array


def _match_outputs(
    expected: Sequence[NDArray[Any]], received: Arrays, names: Sequence[str]
) -> list[NDArray[Any]]:
    values = [received[n] for n in names] if set(names) == set(received) else [*received.values()]
    if len(values) != len(expected):
        raise InvalidModelError(
            "the two models give different outputs",
            received=f"{len(expected)} and {len(values)} outputs",
        )
    turned = [_turn_like(v, e) for v, e in zip(values, expected, strict=True)]
    for value, wanted in zip(turned, expected, strict=True):
        if value.size != wanted.size:
            raise InvalidModelError(
                "the two models give outputs of different shapes",
                received=f"{wanted.shape} and {value.shape}",
            )
    return turned


def _turn_like(value: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Bring an output into the axis order of ``wanted``; a cube fits in several, so the closest."""
    if value.ndim != _IMAGE_RANK or value.dtype.kind != "f":
        return _to_layout(value, wanted.shape)
    turns = [value, *(value.transpose(axes) for axes in _TURNS)]
    fitting = [turn for turn in turns if turn.shape == wanted.shape]
    return min(fitting, key=lambda turn: float(np.abs(turn - wanted).max()), default=value)


def _compare(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    task: Task,
    *,
    quantized: bool,
    inputs: str,
    tolerance: float,
    skipped: tuple[str, ...],
) -> Parity:
    """Compare each output, (N, *shape) on both sides; class maps apart from numbers."""
    maps = [pair for pair in pairs if task is Task.SEGMENT and _holds_classes(pair[0])]
    numbers = [pair for pair in pairs if not any(pair is other for other in maps)]
    errors = [_measure_errors(*pair) for pair in numbers]
    agreement = None
    if task is Task.CLASSIFY and len(pairs) == 1:
        best = [values.reshape(len(values), -1).argmax(axis=1) for values in pairs[0]]
        agreement = float(np.mean(best[0] == best[1]))
    return Parity(
        max_abs_error=max((e[0] for e in errors), default=0.0),
        max_relative_error=max((e[1] for e in errors), default=0.0),
        sqnr_db=min((e[2] for e in errors), default=float("inf")),
        top1_agreement=agreement,
        pixel_agreement=_measure_equality(maps) if maps else None,
        samples=len(pairs[0][0]),
        inputs=inputs,
        tolerance=tolerance,
        min_pixel_agreement=MIN_EQUAL_PIXELS_QUANTIZED if quantized else MIN_EQUAL_PIXELS,
        skipped=skipped,
    )


def _holds_classes(values: NDArray[Any]) -> bool:
    """Whether an output (N, 1, H, W) or (N, 1, H, W, 1) holds class numbers."""
    return values.dtype.kind in "iu" and (values.ndim == _IMAGE_RANK or values.shape[-1] == 1)


def _measure_equality(maps: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    return float(np.mean([np.mean(first == second) for first, second in maps]))


def _measure_errors(expected: NDArray[Any], received: NDArray[Any]) -> tuple[float, float, float]:
    """Return the largest error, absolute and relative to the largest number, and the SQNR."""
    wanted = np.asarray(expected, np.float64).reshape(len(expected), -1)
    given = np.asarray(received, np.float64).reshape(len(expected), -1)
    error = float(np.max(np.abs(wanted - given), initial=0.0))
    peak = float(np.max(np.abs(wanted), initial=0.0))
    if not np.isfinite(error):
        error = float("inf")
    return error, error / peak if peak else error, sqnr_db(wanted, given)


def _iterate_images(
    folder: str | Path | None, skipped: list[str], *, skip_broken: bool
) -> Iterator[NDArray[np.uint8] | None]:
    """Decode photographs one by one; where there is no folder, ``None`` asks for generated ones."""
    if folder is None:
        yield from [None] * NUM_GENERATED
        return
    for file in spread_evenly(list_images(folder), MAX_IMAGES):
        try:
            image = decode_image(file)
        except DataError as error:
            if not skip_broken:
                raise
            skipped.append(f"left out a broken image: {error}")
        else:
            yield image


def draw_inputs(
    specs: Sequence[TensorSpec],
    contract: Contract,
    images: Iterable[NDArray[np.uint8] | None],
) -> Iterator[Arrays]:
    """Yield a set of inputs for each image; ``None`` asks for a generated one.

    Args:
        specs: What the model takes.
        contract: How photographs become the input.
        images: (H, W, 3) uint8 RGB each.
    """
    rng = np.random.default_rng(_SEED)
    for index, image in enumerate(images):
        yield {spec.name: _draw_input(spec, contract, image, (rng, index)) for spec in specs}


def _draw_input(
    spec: TensorSpec,
    contract: Contract,
    image: NDArray[np.uint8] | None,
    draw: tuple[np.random.Generator, int],
) -> NDArray[Any]:
    rng, index = draw
    if not takes_images(spec):
        return _draw_numbers(spec, rng)
    preprocess = Preprocessor(contract.preprocessing, spec)
    if image is None:
        image = draw_image(rng, preprocess.size, index)
    return preprocess(image).copy()


def takes_images(spec: TensorSpec) -> bool:
    """Whether an input is a batch of images with 1 or 3 channels, NHWC or NCHW."""
    shape = spec.shape
    return len(shape) == _IMAGE_RANK and (shape[3] in (1, 3) or shape[1] in (1, 3))


def draw_image(rng: np.random.Generator, size: tuple[int, int], index: int) -> NDArray[np.uint8]:
    """Draw a test image of (height, width): in turn a scene, smooth noise and plain noise.

    Returns:
        (height, width, 3) uint8.
    """
    kind = index % 3
    if kind == 0:
        return draw_scene(rng, (max(size[0], 64), max(size[1], 64))).image
    if kind == 1:
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return Preprocessor(
            Contract(task=Task.CLASSIFY).preprocessing,
            TensorSpec(name="image", shape=(1, *size, 3), dtype="uint8"),
        ).resize(coarse)
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def _draw_numbers(spec: TensorSpec, rng: np.random.Generator) -> NDArray[Any]:
    shape = tuple(max(d, 1) for d in spec.shape)
    if np.dtype(spec.dtype).kind == "f":
        return rng.normal(size=shape).astype(spec.dtype)
    if spec.dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0, 2, shape).astype(spec.dtype)

"""The two models that ``verify`` compares: opened by their own contracts, and fed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract, Preprocessing
from edgevision.converters.convert import detect_source
from edgevision.converters.parity import Runner
from edgevision.data.ahead import map_ahead
from edgevision.data.images import decode_image
from edgevision.errors import DataError, DelegateError, InvalidConfigError
from edgevision.graph.contracts import complete_contract, read_contract
from edgevision.graph.graph import Graph
from edgevision.graph.reader import read_graph
from edgevision.runtime.classify import Classifier
from edgevision.runtime.detect import Detector
from edgevision.runtime.segment import Segmenter
from edgevision.runtime.session import Session
from edgevision.runtime.sessions import open_session
from edgevision.specs import Device, ModelFormat, Progress, Task, parse_choice
from edgevision.threads import count_cores

Predictor = Classifier | Detector | Segmenter

_RUNNABLE = (ModelFormat.TFLITE, ModelFormat.ONNX)
_MAX_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two models, ready to run.

    Attributes:
        path: The file.
        runner: Runs it.
        contract: What it says about itself, completed.
        carried: Whether the file says anything.
        graph: The network of a deployed file.
    """

    path: Path
    runner: Runner
    contract: Contract
    carried: bool
    graph: Graph | None = None

    def create(self) -> Predictor:
        """Return what answers for the model's task.

        Raises:
            InvalidModelError: The outputs are not those of the task.
            UnsupportedOpError: The model has more inputs or outputs than the task takes.
        """
        # A Keras model has no session; what answers needs its inputs, outputs and ``run`` only.
        session = cast(Session, self.runner)
        if self.contract.task is Task.DETECT:
            return Detector(session, self.contract, self.graph)
        if self.contract.task is Task.SEGMENT:
            return Segmenter(session, self.contract)
        return Classifier(session, self.contract)


def open_sides(
    reference: Path,
    candidate: Path,
    *,
    device: Device | str = Device.CPU,
    gpu_float32: bool = False,
) -> tuple[Side, Side]:
    """Open both models; a file without a contract borrows the other's.

    Args:
        reference: Runs on the CPU.
        candidate: Runs on ``device``.
        device: Where the candidate runs.
        gpu_float32: Whether a GPU computes in float32 where it would take float16.

    Raises:
        DelegateError: The device can not be used, or the candidate is no file for devices.
        MissingFileError: A file does not exist.
        InvalidModelError: A file is not a whole model.
        InvalidConfigError: The two are of different tasks.
    """
    sides = _share_contract(
        _open_side(reference), _open_side(candidate, device=device, gpu_float32=gpu_float32)
    )
    tasks = [side.contract.task for side in sides]
    if tasks[0] is not tasks[1]:
        raise InvalidConfigError(
            "two models of one task are compared",
            received=f"{tasks[0]} and {tasks[1]}",
            remedy="compare a model with another form of the same model",
        )
    return sides


def check_same_classes(sides: tuple[Side, Side], models: tuple[Predictor, Predictor]) -> None:
    """Hold that both models answer the same classes.

    Args:
        sides: Both models.
        models: What answers for them.

    Raises:
        InvalidConfigError: Their number or names differ.
    """
    counts = [model.num_classes for model in models]
    if all(counts) and counts[0] != counts[1]:
        raise InvalidConfigError(
            "the two models answer different classes",
            received=f"{counts[0]} and {counts[1]} classes",
            remedy="compare a model with another form of the same model",
        )
    names = [_simplify(side.contract.labels) for side in sides]
    if all(names) and names[0] != names[1]:
        where = next(i for i, (a, b) in enumerate(zip(*names, strict=True)) if a != b)
        raise InvalidConfigError(
            "the two models name their classes differently",
            received=f"class {where}: {names[0][where]} and {names[1][where]}",
            remedy="give both the same label file (edgevision convert --labels)",
        )


def iterate_images(
    files: Sequence[Path],
    skipped: list[str],
    *,
    skip_broken: bool,
    progress: Progress | None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the place and pixels of each image, decoded ahead.

    Args:
        files: The images.
        skipped: Gets a sentence for each broken one, where those are skipped.
        skip_broken: Whether they are.
        progress: Called for every image.

    Raises:
        DataError: An image is broken, or all of them are.
    """
    decode = partial(_decode, skip_broken=skip_broken)
    decoded = map_ahead(decode, files, threads=min(count_cores(), _MAX_THREADS))
    for index, image in enumerate(decoded):
        if isinstance(image, DataError):
            skipped.append(f"left out a broken image: {image}")
        else:
            yield index, image
        if progress is not None:
            progress("verifying", index + 1, len(files))
    if files and len(skipped) == len(files):
        raise DataError("no image can be read", received=f"{len(files)} images, {skipped[0]}")


def _decode(file: Path, *, skip_broken: bool) -> NDArray[np.uint8] | DataError:
    """Return the pixels of an image; of a file that is to be skipped, why."""
    try:
        return decode_image(file)
    except DataError as error:
        if not skip_broken:
            raise
        return error


def compare_contracts(reference: Side, candidate: Side) -> Iterator[str]:
    """Say what differs between the preprocessing of both, and what nobody states."""
    first, second = _spread(reference.contract), _spread(candidate.contract)
    for name in first:
        if first[name] != second[name]:
            yield (
                f"preprocessing differs: {name} is {first[name]} in the reference and "
                f"{second[name]} in the candidate"
            )
    if reference.carried != candidate.carried:
        without = candidate if reference.carried else reference
        yield f"{without.path.name} carries no contract; the other file's was used for both"
    elif not reference.carried:
        yield "neither file carries a contract; preprocessing was assumed"


def _open_side(path: Path, *, device: Device | str = Device.CPU, gpu_float32: bool = False) -> Side:
    chosen = parse_choice(Device, device, "device")
    if detect_source(path) not in _RUNNABLE:
        if chosen is not Device.CPU:
            raise DelegateError(
                f"only .tflite files run on such a device, not {path}",
                device=chosen,
                remedy="convert it with `edgevision convert`",
            )
        return _open_keras(path)
    graph, stated = read_graph(path), read_contract(path)
    return Side(
        path=path,
        runner=open_session(path, device=chosen, gpu_float32=gpu_float32),
        contract=complete_contract(stated, graph, {}),
        carried=stated is not None,
        graph=graph,
    )


def _open_keras(path: Path) -> Side:
    from edgevision.converters.frozen import freeze_model
    from edgevision.converters.lint import lint_model
    from edgevision.converters.load import load_keras_model

    linted = lint_model(load_keras_model(path))
    frozen = freeze_model(linted.model, linted.inputs)
    stated = read_contract(path) if path.suffix.lower() == ".keras" else None
    contract = stated or Contract(task=Task.CLASSIFY)
    if stated is None and linted.preprocessing is not None:
        contract = replace(contract, preprocessing=linted.preprocessing)
    return Side(path=path, runner=frozen, contract=contract, carried=stated is not None)


def _share_contract(reference: Side, candidate: Side) -> tuple[Side, Side]:
    """Let a file without a contract borrow the other's: they are meant to be the same model."""
    if reference.carried == candidate.carried:
        return reference, candidate
    if reference.carried:
        return reference, replace(candidate, contract=reference.contract)
    return replace(reference, contract=candidate.contract), candidate


def _simplify(labels: Sequence[str]) -> list[str]:
    return [label.strip().lower() for label in labels]


def _spread(contract: Contract) -> Mapping[str, Any]:
    """Return the preprocessing in a form in which one value for all channels equals three."""
    values: Preprocessing = contract.preprocessing
    return {
        "resize": values.resize.value,
        "crop_fraction": values.crop_fraction if values.resize.value == "crop" else 1.0,
        "mean": values.mean * 3 if len(values.mean) == 1 else values.mean,
        "std": values.std * 3 if len(values.std) == 1 else values.std,
        "color": values.color.value,
    }

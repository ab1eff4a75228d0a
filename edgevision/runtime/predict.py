"""From a model file and image files to answers, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.data.images import expand_images
from edgevision.errors import InvalidConfigError
from edgevision.runtime.load import load
from edgevision.runtime.results import Answer, ImageAnswer
from edgevision.specs import Task

if TYPE_CHECKING:
    from edgevision.runtime.classify import Classifier
    from edgevision.runtime.detect import Detector
    from edgevision.runtime.segment import Segmenter

    Model = Classifier | Detector | Segmenter


def predict(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    device: str = "cpu",
    threads: int | None = None,
    gpu_float32: bool = False,
    top_k: int | None = None,
    threshold: float | None = None,
    on_assumed: Callable[[tuple[str, ...]], None] | None = None,
    **overrides: Any,
) -> list[ImageAnswer]:
    """Run a ``.tflite`` or ``.onnx`` model on image files, as the device will.

    Loads the model anew each time, takes files only, and keeps all answers (masks of large images
    are large): for images in memory, or one after another, keep what ``edgevision.load`` returns.

    Args:
        path: The model file.
        images: A file or folder, or several of them; of a folder every image below it.
        device: As for ``edgevision.load``.
        threads: CPU threads; by default the usable physical cores, at most 4.
        gpu_float32: As for ``edgevision.load``.
        top_k: How many classes or objects to return for each image at most; by default 5 classes,
            or all objects.
        threshold: Leave out classes or objects that score below this; by default 0 for classes
            and 0.3 for objects.
        on_assumed: Called once, before the first image, with the parts of the contract that
            neither the file nor the caller states; not called where all are known.
        **overrides: Parts of the contract to state over the file's own, as for
            ``edgevision.load``.

    Returns:
        One answer per image, in order.

    Raises:
        MissingFileError: The model or an image does not exist.
        DataError: An image is broken (it is named), or a folder holds none.
        InvalidModelError: The model file is damaged, or its outputs or labels do not fit its task.
        UnsupportedOpError: It has more inputs or outputs than its task takes.
        InvalidConfigError: An override, the device, ``threads``, ``top_k`` or ``threshold`` is out
            of range, or a segmenter is given one of the last two.
        DelegateError: The device can not be used.
        BackendUnavailableError: The interpreter for this format is not installed.
    """
    return list(
        predict_each(
            path,
            images,
            device=device,
            threads=threads,
            gpu_float32=gpu_float32,
            top_k=top_k,
            threshold=threshold,
            on_assumed=on_assumed,
            **overrides,
        )
    )


def predict_each(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    device: str = "cpu",
    threads: int | None = None,
    gpu_float32: bool = False,
    top_k: int | None = None,
    threshold: float | None = None,
    on_assumed: Callable[[tuple[str, ...]], None] | None = None,
    **overrides: Any,
) -> Iterator[ImageAnswer]:
    """Do what ``predict`` does, one answer after the other: none is kept here.

    The model is loaded and everything but the images themselves is checked before the first
    answer is asked for. Arguments and errors are those of ``predict``.
    """
    files = expand_images([images] if isinstance(images, str | os.PathLike) else images)
    model = load(
        os.fspath(path), device=device, threads=threads, gpu_float32=gpu_float32, **overrides
    )
    if on_assumed is not None and model.contract.assumed:
        on_assumed(model.contract.assumed)
    return answer_files(model, files, top_k=top_k, threshold=threshold)


def answer_files(
    model: Model,
    files: Sequence[Path],
    *,
    top_k: int | None = None,
    threshold: float | None = None,
) -> Iterator[ImageAnswer]:
    """Yield the answer to each file, in order; the next files are decoded meanwhile.

    Args:
        model: What ``edgevision.load`` returned.
        files: Image files.
        top_k: As for ``predict``.
        threshold: As for ``predict``.

    Raises:
        DataError: An image is broken; it is named.
        InvalidConfigError: ``top_k`` or ``threshold`` is out of range, or not for this task.
    """
    limits = choose_limits(model.contract.task, top_k=top_k, threshold=threshold)
    # One image leaves nothing to decode ahead, and starting threads costs a device 10 ms.
    answers: Iterable[Answer] = (
        model.iterate(files, **limits)
        if len(files) > 1
        else (model.predict(file, **limits) for file in files)
    )
    return (
        ImageAnswer(image=file, answer=answer) for file, answer in zip(files, answers, strict=True)
    )


def choose_limits(task: Task, *, top_k: int | None, threshold: float | None) -> dict[str, Any]:
    """Return the arguments for ``predict`` of a task that the caller states.

    Raises:
        InvalidConfigError: A segmenter is given any: it has no list of answers to shorten.

    >>> choose_limits(Task.DETECT, top_k=None, threshold=0.5)
    {'threshold': 0.5}
    """
    given = {"top_k": top_k, "threshold": threshold}
    stated = {name: value for name, value in given.items() if value is not None}
    if stated and task is Task.SEGMENT:
        raise InvalidConfigError(
            "a segmenter answers one mask, without a list of scores",
            received=", ".join(f"{name}={value}" for name, value in stated.items()),
            remedy="leave it out",
        )
    return stated

"""From a model file and image files to answers, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from edgevision.data.images import expand_images
from edgevision.runtime.load import load
from edgevision.runtime.results import ImageAnswer


def predict(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    device: str = "cpu",
    threads: int | None = None,
    top_k: int = 5,
    threshold: float = 0.0,
    on_assumed: Callable[[tuple[str, ...]], None] | None = None,
    **overrides: Any,
) -> list[ImageAnswer]:
    """Run a ``.tflite`` or ``.onnx`` model on image files, as the device will.

    Loads the model anew each time, and takes files only: for images in memory, or one after
    another, keep what ``edgevision.load`` returns.

    Args:
        path: The model file.
        images: A file or folder, or several of them; of a folder every image below it.
        device: As for ``edgevision.load``.
        threads: CPU threads; by default the usable physical cores, at most 4.
        top_k: How many classes to return for each image, at most all.
        threshold: Leave out classes that score below this.
        on_assumed: Called once, before the first image, with the parts of the contract that
            neither the file nor the caller states; not called where all are known.
        **overrides: Parts of the contract to state over the file's own, as for
            ``edgevision.load``.

    Returns:
        One answer per image, in order.

    Raises:
        MissingFileError: The model or an image does not exist.
        DataError: An image is broken (it is named), or a folder holds none.
        InvalidModelError: The model file is damaged, or its labels do not fit.
        UnsupportedOpError: It is no classifier.
        InvalidConfigError: An override, the device, ``threads`` or ``top_k`` is out of range.
        DelegateError: The device can not be used.
        BackendUnavailableError: The interpreter for this format is not installed.
    """
    files = expand_images([images] if isinstance(images, str | os.PathLike) else images)
    classifier = load(os.fspath(path), device=device, threads=threads, **overrides)
    if on_assumed is not None and classifier.contract.assumed:
        on_assumed(classifier.contract.assumed)
    # One image leaves nothing to decode ahead, and starting threads costs a device 10 ms.
    answers = (
        classifier.predict_batch(files, top_k)
        if len(files) > 1
        else [classifier.predict(file, top_k) for file in files]
    )
    return [
        ImageAnswer(image=file, answer=answer.above(threshold))
        for file, answer in zip(files, answers, strict=True)
    ]

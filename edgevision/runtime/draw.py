"""Answers drawn onto the images they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.data.images import decode_image
from edgevision.errors import InvalidConfigError
from edgevision.outputs import atomic_path
from edgevision.runtime.results import Classification

if TYPE_CHECKING:
    from PIL import Image

    from edgevision.data.images import ImageSource

_BACKGROUND = (0, 0, 0, 160)
_TEXT = (255, 255, 255, 255)
_MIN_TEXT_PX = 12


def save_annotated(image: ImageSource, answer: Classification, path: str | Path) -> None:
    """Write the image with the answer's classes and scores in its upper left corner.

    Args:
        image: As for ``Classifier.predict``.
        answer: What the model said about it.
        path: Output; the suffix chooses the format (``.png``, ``.jpg`` …).

    Raises:
        DataError: The image is broken.
        InvalidConfigError: The suffix names no image format.
        OutputError: The output can not be written.
    """
    annotated = draw_classification(image, answer)
    with atomic_path(path) as temporary:
        try:
            annotated.save(temporary)
        except ValueError as error:  # Pillow knows no such suffix
            raise InvalidConfigError(
                "unknown image format", received=path, remedy="name a .png or .jpg file"
            ) from error


def draw_classification(image: ImageSource, answer: Classification) -> Image.Image:
    """Return an RGB copy of the image with one line per class on a dark ground."""
    from PIL import Image, ImageDraw, ImageFont

    base = Image.fromarray(decode_image(image)).convert("RGBA")
    text = "\n".join(f"{p.label} {p.score:.2f}" for p in answer)
    if not text:
        return base.convert("RGB")
    size_px = max(_MIN_TEXT_PX, min(base.size) // 24)
    font = ImageFont.load_default(size_px)
    layer = Image.new("RGBA", base.size)
    pen = ImageDraw.Draw(layer)
    margin_px = size_px // 2
    left, top, right, bottom = pen.multiline_textbbox((margin_px, margin_px), text, font=font)
    frame = (left - margin_px, top - margin_px, right + margin_px, bottom + margin_px)
    pen.rectangle(frame, fill=_BACKGROUND)
    pen.multiline_text((margin_px, margin_px), text, fill=_TEXT, font=font)
    return Image.alpha_composite(base, layer).convert("RGB")

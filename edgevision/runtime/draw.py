"""Answers drawn onto the images they belong to, readable on light and on dark ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgevision.data.images import decode_image
from edgevision.errors import InvalidConfigError
from edgevision.graph.contract_guesses import is_background
from edgevision.outputs import atomic_path
from edgevision.runtime.draw_masks import blend_mask
from edgevision.runtime.palette import Color, pick_color, pick_text_color, tabulate_colors
from edgevision.runtime.results import (
    Answer,
    Classification,
    DetectedObject,
    Detections,
    Segmentation,
)

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    from edgevision.data.images import ImageSource

    Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

Box = tuple[float, float, float, float]

_PANEL = (0, 0, 0, 160)
_TEXT = (255, 255, 255, 255)
# Around every coloured line, so that it stands out from a ground of its own colour.
_HALO = (0, 0, 0, 130)
_MIN_TEXT_PX = 12
# For labels that are not in plain Latin letters; Pillow's own font has no others.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
)
_MAX_LEGEND_ROWS = 12


def save_annotated(image: ImageSource, answer: Answer, path: str | Path) -> None:
    """Write the image with the answer drawn in.

    Args:
        image: As for ``predict``.
        answer: What the model said about it.
        path: Output; the suffix chooses the format (``.png``, ``.jpg`` …).

    Raises:
        DataError: The image is broken.
        InvalidConfigError: The suffix names no image format.
        OutputError: The output can not be written.
    """
    _save(draw_answer(image, answer), path)


def save_mask(answer: Segmentation, path: str | Path) -> None:
    """Write a mask as an image file whose pixels are the numbers of the classes.

    Up to 255 classes, it has a palette, so that viewers show the colours of ``draw_answer``.

    Args:
        answer: What the model said.
        path: Output; a format without loss (``.png``).

    Raises:
        InvalidConfigError: The suffix names no image format.
        OutputError: The output can not be written.
    """
    from PIL import Image

    picture = Image.fromarray(answer.mask)
    if answer.mask.dtype == np.uint8:
        colors = tabulate_colors(256, background=_has_background(answer.labels))
        picture.putpalette(colors.tobytes())
    _save(picture, path)


def draw_answer(image: ImageSource, answer: Answer) -> Image.Image:
    """Return an RGB copy of the image with the answer drawn in.

    Classes stand in the upper left corner; objects have a box and a label in the colour of their
    class; of a mask, every class but the background is tinted and outlined, and a legend names it.

    Args:
        image: As for ``predict``.
        answer: What the model said about it.

    Raises:
        DataError: The image is broken, or the mask is not that of the image.
    """
    if isinstance(answer, Detections):
        return draw_detections(image, answer)
    if isinstance(answer, Segmentation):
        return draw_segmentation(image, answer)
    return draw_classification(image, answer)


def draw_classification(image: ImageSource, answer: Classification) -> Image.Image:
    """Return an RGB copy of the image with one line per class on a dark ground."""
    rows = [(f"{p.label} {p.score:.2f}", None) for p in answer]
    return _Canvas(image, (p.label for p in answer)).add_panel(rows).flatten()


def draw_detections(image: ImageSource, answer: Detections) -> Image.Image:
    """Return an RGB copy of the image with a box and a label for every object."""
    canvas = _Canvas(image, answer.labels)
    found = list(answer)
    for thing in reversed(found):  # the best ones on top
        canvas.add_box(thing)
    for thing in found:
        canvas.add_label(thing)
    return canvas.flatten()


def draw_segmentation(image: ImageSource, answer: Segmentation) -> Image.Image:
    """Return an RGB copy of the image with tinted, outlined classes and a legend."""
    pixels = decode_image(image)
    background = _has_background(answer.labels)
    canvas = _Canvas(blend_mask(pixels, answer, background=background), answer.labels)
    colors = tabulate_colors(answer.unseen + 1, background=background)
    rows = []
    for area in answer.areas[:_MAX_LEGEND_ROWS]:
        if background and area.index == 0:
            continue
        red, green, blue = colors[area.index].tolist()
        share = f"{area.share:.0%}" if area.share >= 0.01 else "below 1%"
        rows.append((f"{area.label} {share}", (red, green, blue)))
    return canvas.add_panel(rows).flatten()


class _Canvas:
    """An image, and a transparent layer above it that is drawn on.

    Args:
        image: As for ``predict``.
        texts: What will be written, for choosing a font that has the letters.
    """

    def __init__(self, image: ImageSource, texts: Iterable[str]) -> None:
        from PIL import Image, ImageDraw

        self.base = Image.fromarray(decode_image(image)).convert("RGBA")
        self.layer = Image.new("RGBA", self.base.size)
        self.pen: ImageDraw.ImageDraw = ImageDraw.Draw(self.layer)
        shorter = min(self.base.size)
        self.line_px = max(2, round(shorter / 220))
        self.text_px = max(_MIN_TEXT_PX, shorter // 30)
        self.font: Font = _load_font(self.text_px, "".join(texts))
        self._taken: list[Box] = []

    def flatten(self) -> Image.Image:
        """Return the image with the layer on it."""
        from PIL import Image

        return Image.alpha_composite(self.base, self.layer).convert("RGB")

    def add_panel(self, rows: Sequence[tuple[str, Color | None]]) -> _Canvas:
        """Write lines into the upper left corner, each with a patch of colour where it has one."""
        if not rows:
            return self
        margin = self.text_px // 2
        step = round(self.text_px * 1.35)
        indent = step if any(color for _, color in rows) else 0
        width = max(self.font.getlength(text) for text, _ in rows) + indent
        frame = (0, 0, width + 2 * margin, step * len(rows) + margin)
        self.pen.rounded_rectangle(frame, radius=margin, fill=_PANEL)
        for number, (text, color) in enumerate(rows):
            top = margin // 2 + step * number
            if color is not None:
                patch = (margin, top + 2, margin + step - margin, top + step - margin + 2)
                self.pen.rectangle(patch, fill=color, outline=_TEXT)
            self.pen.text((margin + indent, top), text, fill=_TEXT, font=self.font)
        return self

    def add_box(self, thing: DetectedObject) -> None:
        """Draw the outline of an object in its colour, with a dark line on both sides."""
        ymin, xmin, ymax, xmax = thing.box
        half, width = self.line_px // 2, self.line_px
        outer = (xmin - half - 1, ymin - half - 1, xmax + half + 1, ymax + half + 1)
        right, bottom = max(xmin, xmax - half), max(ymin, ymax - half)
        self.pen.rectangle(_order(outer), outline=_HALO, width=width + 2)
        inner = (outer[0] + 1, outer[1] + 1, max(right, outer[2] - 1), max(bottom, outer[3] - 1))
        self.pen.rectangle(_order(inner), outline=pick_color(thing.index), width=width)

    def add_label(self, thing: DetectedObject) -> None:
        """Write class and score on a plate in the object's colour, where there is room for it."""
        text = f"{thing.label} {thing.score:.2f}"
        ground = pick_color(thing.index)
        pad = max(2, self.text_px // 5)
        width, height = self.font.getlength(text) + 2 * pad, self.text_px * 1.25 + pad
        plate = self._place(thing.box, width, height)
        self._taken.append(plate)
        self.pen.rectangle(_grow(plate, 1), fill=_HALO)
        self.pen.rectangle(plate, fill=ground)
        start = (plate[0] + pad, plate[1] + pad / 2)
        self.pen.text(start, text, fill=pick_text_color(ground), font=self.font)

    def _place(self, box: Box, width: float, height: float) -> Box:
        """Find room for a plate at its box: above, inside or below; else above all the same."""
        ymin, xmin, ymax, xmax = box
        half = self.line_px // 2 + 1
        tops = (ymin - half - height, ymin - half, ymax + half, ymax - height)
        lefts = (xmin - half, xmax + half - width)
        places = [self._shift_inside(left, top, width, height) for left in lefts for top in tops]
        free = (p for p in places if not any(_overlap(p, taken) for taken in self._taken))
        return next(free, places[0])

    def _shift_inside(self, left: float, top: float, width: float, height: float) -> Box:
        right, bottom = self.base.width - 1, self.base.height - 1
        left = max(0.0, min(left, right - width))
        top = max(0.0, min(top, bottom - height))
        return left, top, left + width, top + height


def _has_background(labels: Sequence[str]) -> bool:
    return bool(labels) and is_background(labels[0])


def _load_font(size_px: int, text: str) -> Font:
    """Return Pillow's own font, or one of the system where that lacks letters of the text."""
    from PIL import ImageFont

    for name in () if text.isascii() else _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:  # not installed
            continue
    return ImageFont.load_default(size_px)


def _order(frame: Box) -> Box:
    """Make sure that a rectangle ends behind its beginning, as Pillow demands."""
    left, top, right, bottom = frame
    return left, top, max(left, right), max(top, bottom)


def _grow(frame: Box, margin: float) -> Box:
    return frame[0] - margin, frame[1] - margin, frame[2] + margin, frame[3] + margin


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _save(picture: Image.Image, path: str | Path) -> None:
    with atomic_path(path) as temporary:
        try:
            picture.save(temporary)
        except (ValueError, OSError) as error:
            # Pillow knows no such suffix, or the format can not hold this kind of image.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InvalidConfigError(
                "unknown image format", received=path, remedy="name a .png or .jpg file"
            ) from error

"""Random crops, turns, mirror images and colours, for a whole batch at once inside tf.data.

Crop, aspect ratio, mirror and turn are one projective transform per image, so that each output
pixel is interpolated once. Everything is a pure function of a seed: an epoch that is run again
after a kill sees the same images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgevision.backends import import_backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far training images may differ from the photographs.

    Attributes:
        min_area: Smallest share of the image that a crop keeps, in (0, 1].
        max_aspect: Largest change of the aspect ratio, at least 1.
        max_degrees: Largest turn to either side.
        color: Largest change of brightness, contrast and saturation, as a share.
        flip: Whether half of the images are mirrored left to right.
    """

    min_area: float = 0.7
    max_aspect: float = 1.25
    max_degrees: float = 10.0
    color: float = 0.2
    flip: bool = True


IDENTITY = Augmentation(min_area=1.0, max_aspect=1.0, max_degrees=0.0, color=0.0, flip=False)
"""The plain image, in the same steps."""


def augment_batch(images: Any, *, size: tuple[int, int], how: Augmentation, seed: Any) -> Any:
    """Return random views of a batch.

    Args:
        images: (N, H, W, 3) uint8 tensor.
        size: (height, width) of the result.
        how: Limits of the changes.
        seed: (2,) int32 tensor; the same seed gives the same views.

    Returns:
        (N, height, width, 3) float32 tensor, 0–255.
    """
    tf = import_backend("tensorflow")
    place, paint = tf.unstack(tf.random.split(seed, 2))
    transforms = draw_transforms(images, size=size, how=how, seed=place)
    views = transform_images(images, transforms, size=size)
    return vary_colors(tf.cast(views, tf.float32), amount=how.color, seed=paint)


def transform_images(
    images: Any,
    transforms: Any,
    *,
    size: tuple[int, int],
    fill: float | None = None,
    nearest: bool = False,
) -> Any:
    """Apply one projective transform to each image of a batch.

    Args:
        images: (N, H, W, C) tensor.
        transforms: (N, 8) float32 from output pixels to input pixels (``draw_transforms``).
        size: (height, width) of the result.
        fill: Value beyond the image; ``None`` reflects the image at its border.
        nearest: Take the nearest pixel instead of interpolating, as masks need it.

    Returns:
        (N, height, width, C) tensor of the same dtype.
    """
    tf = import_backend("tensorflow")
    views = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=size,
        interpolation="NEAREST" if nearest else "BILINEAR",
        fill_mode="REFLECT" if fill is None else "CONSTANT",
        fill_value=fill or 0.0,
    )
    views.set_shape((None, *size, images.shape[-1]))
    return views


def draw_transforms(images: Any, *, size: tuple[int, int], how: Augmentation, seed: Any) -> Any:
    """Draw one affine transform per image, from output pixels to input pixels.

    Returns:
        (N, 8) float32 tensor: rows ``a0 a1 a2 b0 b1 b2 0 0`` with
        ``x_in = a0 x + a1 y + a2`` and ``y_in = b0 x + b1 y + b2``.
    """
    tf = import_backend("tensorflow")
    shape = tf.cast(tf.shape(images), tf.float32)
    source_height, source_width = shape[1], shape[2]
    draws = tf.random.stateless_uniform((6, tf.shape(images)[0]), seed)
    area = how.min_area + draws[0] * (1 - how.min_area)
    aspect = tf.exp((2 * draws[1] - 1) * math.log(how.max_aspect))
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    center_x = (width / 2 + draws[2] * (1 - width)) * source_width - 0.5
    center_y = (height / 2 + draws[3] * (1 - height)) * source_height - 0.5
    step_x, step_y = width * source_width / size[1], height * source_height / size[0]
    mirror = tf.where(draws[5] < 0.5, -1.0, 1.0) if how.flip else tf.ones_like(area)
    angle = (2 * draws[4] - 1) * math.radians(how.max_degrees)
    cos, sin = tf.cos(angle), tf.sin(angle)
    rows = (step_x * mirror * cos, -step_y * sin), (step_x * mirror * sin, step_y * cos)
    middle = (size[1] - 1) / 2, (size[0] - 1) / 2
    shift_x = center_x - rows[0][0] * middle[0] - rows[0][1] * middle[1]
    shift_y = center_y - rows[1][0] * middle[0] - rows[1][1] * middle[1]
    zero = tf.zeros_like(area)
    return tf.stack((*rows[0], shift_x, *rows[1], shift_y, zero, zero), axis=1)


def vary_colors(images: Any, *, amount: float, seed: Any) -> Any:
    """Change brightness, contrast and saturation of each image by up to ``amount``."""
    tf = import_backend("tensorflow")
    draws = tf.random.stateless_uniform(
        (3, tf.shape(images)[0], 1, 1, 1), seed, 1 - amount, 1 + amount
    )
    brightness, contrast, saturation = tf.unstack(draws)
    gray = tf.reduce_mean(images, axis=3, keepdims=True)
    images = gray + (images - gray) * saturation
    mean = tf.reduce_mean(gray, axis=(1, 2), keepdims=True)
    images = mean * brightness + (images - mean) * contrast
    return tf.clip_by_value(images, 0.0, 255.0)

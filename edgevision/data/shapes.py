"""Shapes and textures of the generated scenes, as functions of pixel coordinates.

A shape is a signed distance: below 0 inside, in units of its own radius (Inigo Quilez, "2D
distance functions"). A texture is a weight in [0, 1] for every pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Distance = Callable[[Floats, Floats], Floats]
Texture = Callable[[np.random.Generator, int, int], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One class of the generated data set.

    Attributes:
        name: Class name.
        distance: Signed distance of points (x right, y down), for radius 1 about the origin.
        max_turn: Largest rotation to either side, radians.
    """

    name: str
    distance: Distance
    max_turn: float = 0.5


def measure_circle(x: Floats, y: Floats) -> Floats:
    """Disc of radius 1."""
    return np.asarray(np.hypot(x, y) - np.float32(1))


def measure_ring(x: Floats, y: Floats) -> Floats:
    """Ring from radius 0.54 to 1."""
    return np.abs(np.hypot(x, y) - np.float32(0.77)) - np.float32(0.23)


def measure_square(x: Floats, y: Floats) -> Floats:
    """Square whose corners lie just beyond radius 1."""
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.76)


def measure_triangle(x: Floats, y: Floats) -> Floats:
    """Equilateral triangle, one corner up."""
    slope = np.float32(np.sqrt(3) / 2)
    return np.maximum(y, slope * np.abs(x) - np.float32(0.5) * y) - np.float32(0.55)


def measure_cross(x: Floats, y: Floats) -> Floats:
    """Plus sign with arms of width 0.6."""
    across, along = np.abs(x), np.abs(y)
    long, wide = np.float32(0.95), np.float32(0.3)
    return np.minimum(
        np.maximum(across - long, along - wide), np.maximum(across - wide, along - long)
    )


def measure_star(x: Floats, y: Floats) -> Floats:
    """Five-pointed star, one point up: one edge, folded into the ten half points."""
    sector = np.float32(2 * np.pi / 5)
    angle = np.arctan2(x, -y)
    folded = np.abs(angle - sector * np.round(angle / sector))
    radius = np.hypot(x, y)
    tip = np.array((1.08, 0.0))
    notch = 0.46 * np.array((np.cos(np.pi / 5), np.sin(np.pi / 5)))
    edge = (notch - tip) / np.linalg.norm(notch - tip)
    normal = np.array((edge[1], -edge[0]), np.float32)
    offset = np.float32(normal @ tip)
    outward = normal[0] * np.cos(folded) + normal[1] * np.sin(folded)
    return np.asarray(radius * outward - offset)


def measure_heart(x: Floats, y: Floats) -> Floats:
    """Heart, point down."""
    unit = np.float32(0.62)
    across, up = np.abs(x) * unit, np.float32(0.55) - y * unit
    lobe = np.hypot(across - np.float32(0.25), up - np.float32(0.75)) - np.float32(np.sqrt(2) / 4)
    diagonal = np.maximum(across + up, 0) * np.float32(0.5)
    near = np.minimum(across**2 + (up - 1) ** 2, (across - diagonal) ** 2 + (up - diagonal) ** 2)
    body = np.sqrt(near) * np.sign(across - up)
    return np.asarray(np.where(across + up > 1, lobe, body) / unit)


def measure_rod(x: Floats, y: Floats) -> Floats:
    """Thin rod with round ends; a distractor, not a class."""
    reach = np.maximum(np.abs(x) - np.float32(0.85), 0)
    return np.asarray(np.hypot(reach, y) - np.float32(0.15))


SHAPES: tuple[Shape, ...] = (
    Shape(name="circle", distance=measure_circle),
    Shape(name="cross", distance=measure_cross),
    Shape(name="heart", distance=measure_heart),
    Shape(name="ring", distance=measure_ring),
    Shape(name="square", distance=measure_square),
    Shape(name="star", distance=measure_star),
    Shape(name="triangle", distance=measure_triangle),
)
ROD = Shape(name="rod", distance=measure_rod, max_turn=np.pi)


def draw_noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Smooth clouds: octaves of random values, each finer and fainter."""
    total = np.zeros((height, width), np.float32)
    cells, weight = int(rng.integers(2, 5)), 1.0
    for _ in range(4):
        total += np.float32(weight) * spread_grid(rng.random((cells, cells)), height, width)
        cells, weight = cells * 2, weight * 0.5
    low, high = total.min(), total.max()
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def draw_stripes(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Stripes at any angle, with soft edges, a little wavy."""
    along, across = _turn_grid(rng, height, width)
    wave = np.float32(rng.uniform(0, 0.04)) * np.sin(across * np.float32(rng.uniform(6, 18)))
    return _sharpen(np.sin((along + wave) * np.float32(2 * np.pi * rng.uniform(3, 9))), rng)


def draw_checks(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Checkerboard at any angle."""
    along, across = _turn_grid(rng, height, width)
    pace = np.float32(np.pi * rng.uniform(4, 9))
    return _sharpen(np.sin(along * pace) * np.sin(across * pace) * np.float32(2), rng)


def draw_gradient(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Light falling off from one side, or from a spot."""
    along, across = _turn_grid(rng, height, width)
    if rng.random() < 0.5:
        return np.asarray(np.clip(along + np.float32(0.5), 0, 1))
    spot = np.hypot(along - np.float32(rng.uniform(-0.4, 0.4)), across)
    return np.asarray(np.clip(spot, 0, 1))


def draw_dots(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Small dots on a regular grid."""
    along, across = _turn_grid(rng, height, width)
    pace = np.float32(np.pi * rng.uniform(8, 14))
    return _sharpen(np.cos(along * pace) * np.cos(across * pace) * 3 - np.float32(1.6), rng)


def draw_grain(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Wood: rings bent by clouds, seen lengthwise."""
    along, across = _turn_grid(rng, height, width)
    bend = draw_noise(rng, height, width) * np.float32(rng.uniform(0.1, 0.25))
    rings = np.sin((along + bend + across * np.float32(0.1)) * np.float32(rng.uniform(25, 60)))
    return np.asarray(np.float32(0.5) + np.float32(0.5) * rings)


TEXTURES: tuple[Texture, ...] = (
    draw_noise,
    draw_stripes,
    draw_checks,
    draw_gradient,
    draw_dots,
    draw_grain,
)


def spread_grid(values: NDArray[np.float64], height: int, width: int) -> Floats:
    """Interpolate a small grid of values to (height, width), bicubic."""
    from PIL import Image

    grid = Image.fromarray(values.astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))


def _turn_grid(rng: np.random.Generator, height: int, width: int) -> tuple[Floats, Floats]:
    """Coordinates from about −0.5 to 0.5 along a random direction and across it."""
    side = np.float32(min(height, width))
    y = (np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2)) / side
    x = (np.arange(width, dtype=np.float32)[None, :] - np.float32(width / 2)) / side
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _sharpen(wave: Floats, rng: np.random.Generator) -> Floats:
    """Turn a wave from −1 to 1 into a weight with edges between soft and crisp."""
    return np.asarray(np.clip(wave * np.float32(rng.uniform(0.6, 3)) + np.float32(0.5), 0, 1))

"""The generated data set: shapes on textured backgrounds, with exact classes, boxes and masks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.shapes import ROD, SHAPES, TEXTURES, Floats, Shape, draw_noise
from edgevision.errors import InvalidConfigError
from edgevision.outputs import atomic_path
from edgevision.specs import Progress
from edgevision.threads import count_cores

LABELS: tuple[str, ...] = tuple(shape.name for shape in SHAPES)
"""Class names, in the order of the labels."""

MIN_SIZE = 16
_JPEG_QUALITY = 95
_PARTS = ("train", "val")
_PLACING_TRIES = 40
# Of a lone object, as a share of the image's shorter side.
_RADIUS = (0.28, 0.44)
# Of several objects in one scene, the smallest as a share of the largest that fits.
_SMALLEST_OF_MANY = 0.7
# Difference in brightness between the two colours of a background.
_TEXTURE_CONTRAST = (0.05, 0.15)
_MAX_RODS = 3
_MIN_COLOR_DISTANCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One generated image with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: Class of the largest object, an index into ``LABELS``.
        boxes: (N, 4) float32, ymin xmin ymax xmax in pixels, tight around each object.
        classes: (N,) int64 class of each object.
        mask: (H, W) uint8, 0 for background, otherwise class + 1.
    """

    image: NDArray[np.uint8]
    label: int
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pose:
    """Where a shape stands: centre and radius in pixels, rotation in radians."""

    y: float
    x: float
    radius: float
    turn: float


def draw_scene(
    rng: np.random.Generator,
    size: int | tuple[int, int],
    *,
    label: int | None = None,
    num_objects: int = 1,
) -> Scene:
    """Draw one scene.

    Colours, textures, light, position, rotation and size vary; thin rods lie about as
    distractors. Objects lie wholly inside the image and do not overlap.

    Args:
        rng: Source of everything random; the same state draws the same scene.
        size: Side, or (height, width), pixels; at least 16.
        label: Class of the first and largest object; ``None`` for any.
        num_objects: Objects to place; fewer where there is no room left.

    Raises:
        InvalidConfigError: An argument is out of range.

    >>> scene = draw_scene(np.random.default_rng(0), 64, label=0)
    >>> scene.image.shape, LABELS[scene.label], scene.boxes.shape
    ((64, 64, 3), 'circle', (1, 4))
    """
    height, width = (size, size) if isinstance(size, int) else size
    _check_scene(height, width, label, num_objects)
    canvas, backdrop = _draw_background(rng, height, width)
    for _ in range(int(rng.integers(0, _MAX_RODS + 1))):
        _place_rod(rng, canvas)
    mask = np.zeros((height, width), np.uint8)
    boxes: list[tuple[int, int, int, int]] = []
    classes: list[int] = []
    for pose in _find_poses(rng, height, width, num_objects):
        chosen = int(rng.integers(len(SHAPES))) if label is None or classes else label
        color = _pick_color(rng, backdrop)
        covered = _paint_object(rng, canvas, SHAPES[chosen], pose, color)
        mask[covered] = chosen + 1
        boxes.append(_bound(covered))
        classes.append(chosen)
    return Scene(
        image=_finish(rng, canvas),
        label=classes[0],
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.array(classes, np.int64),
        mask=mask,
    )


def write_dataset(
    folder: str | os.PathLike[str],
    *,
    num_train: int = 1600,
    num_val: int = 400,
    size: int | tuple[int, int] = 96,
    seed: int = 0,
    num_objects: int = 1,
    masks: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a data set of scenes: whole, or not at all.

    ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` are ready for ``read_dataset``; ``scenes.json``
    holds the boxes and classes of every image, ``masks/`` the class maps where asked for:
    ``read_boxes`` and ``read_masks`` take the whole folder. Classes are balanced. Image ``i``
    depends on the seed, its part and ``i`` alone, so that a larger data set begins with the same
    images.

    Args:
        folder: Must not exist yet.
        num_train: Images in ``train``.
        num_val: Images in ``val``.
        size: Side, or (height, width), pixels.
        seed: Another seed draws other scenes.
        num_objects: Most objects in one scene; with more than 1, each scene has 1 to that many.
        masks: Write ``masks/train/*.png`` and ``masks/val/*.png`` (0 background, class + 1).
        progress: Called after every image.

    Returns:
        The folder.

    Raises:
        InvalidConfigError: An argument is out of range.
        OutputError: The folder exists or can not be written.
    """
    height, width = (size, size) if isinstance(size, int) else size
    _check_scene(height, width, None, num_objects)
    if min(num_train, num_val) < 0 or num_train + num_val == 0:
        raise InvalidConfigError(
            "the number of images is 1 or more", received=f"{num_train=} {num_val=}"
        )
    target = Path(folder)
    with atomic_path(target) as place:
        jobs = list(_plan_files(place, num_train, num_val))
        plan = _Plan(
            place=place, size=(height, width), seed=seed, num_objects=num_objects, masks=masks
        )
        plan.make_folders(jobs)
        records = []
        with ThreadPoolExecutor(count_cores()) as pool:
            for record in pool.map(plan.write_scene, jobs):
                records.append(record)
                if progress:
                    progress("drawing scenes", len(records), len(jobs))
        facts = {"labels": LABELS, "size": (height, width), "seed": seed, "images": records}
        (place / "scenes.json").write_text(json.dumps(facts), encoding="utf-8")
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    part: int
    index: int
    label: int
    file: Path


def _plan_files(place: Path, num_train: int, num_val: int) -> Iterator[_Job]:
    for part, count in enumerate((num_train, num_val)):
        for index in range(count):
            label = index % len(SHAPES)
            file = place / _PARTS[part] / LABELS[label] / f"{index:05d}.jpg"
            yield _Job(part=part, index=index, label=label, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What all scenes of a data set share."""

    place: Path
    size: tuple[int, int]
    seed: int
    num_objects: int
    masks: bool

    def make_folders(self, jobs: list[_Job]) -> None:
        parents = {job.file.parent for job in jobs}
        if self.masks:
            parents |= {self.place / "masks" / part for part in _PARTS}
        for parent in parents:
            parent.mkdir(parents=True)

    def write_scene(self, job: _Job) -> dict[str, Any]:
        """Draw and write one scene; return its record for ``scenes.json``."""
        from PIL import Image

        rng = np.random.default_rng((self.seed, job.part, job.index))
        count = int(rng.integers(1, self.num_objects + 1))
        scene = draw_scene(rng, self.size, label=job.label, num_objects=count)
        Image.fromarray(scene.image).save(job.file, quality=_JPEG_QUALITY, subsampling=0)
        record = {
            "file": job.file.relative_to(self.place).as_posix(),
            "label": scene.label,
            "boxes": scene.boxes.tolist(),
            "classes": scene.classes.tolist(),
        }
        if self.masks:
            mask = self.place / "masks" / _PARTS[job.part] / f"{job.index:05d}.png"
            Image.fromarray(scene.mask).save(mask)
            record["mask"] = mask.relative_to(self.place).as_posix()
        return record


def _check_scene(height: int, width: int, label: int | None, num_objects: int) -> None:
    if min(height, width) < MIN_SIZE:
        raise InvalidConfigError(
            f"a scene is at least {MIN_SIZE} pixels high and wide", received=f"{height}x{width}"
        )
    if label is not None and not 0 <= label < len(SHAPES):
        raise InvalidConfigError(f"label is below {len(SHAPES)}", received=f"label={label}")
    if num_objects < 1:
        raise InvalidConfigError("num_objects is 1 or more", received=f"num_objects={num_objects}")


def _draw_background(
    rng: np.random.Generator, height: int, width: int
) -> tuple[Floats, NDArray[np.float64]]:
    """Return the background (H, W, 3) in 0–1, and its two main colours."""
    texture = TEXTURES[int(rng.integers(len(TEXTURES)))](rng, height, width)
    hue, saturation, bright = rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.9)
    step = rng.choice((-1, 1)) * rng.uniform(*_TEXTURE_CONTRAST)
    colors = np.array(
        [
            _to_rgb(hue, saturation, bright),
            _to_rgb(
                hue + rng.uniform(-0.1, 0.1),
                saturation + rng.uniform(-0.1, 0.1),
                np.clip(bright + step, 0.15, 1),
            ),
        ]
    )
    first, second = colors.astype(np.float32)
    canvas = first + (second - first) * texture[:, :, None]
    # Uneven light, so that no background is flat.
    light = draw_noise(rng, height, width) - np.float32(0.5)
    return canvas * (1 + np.float32(rng.uniform(0.1, 0.35)) * light[:, :, None]), colors


def _to_rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """HSV, each 0–1 (the hue wraps around), to RGB."""
    sector = (np.array((5.0, 3.0, 1.0)) + hue * 6) % 6
    return np.asarray(value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))


def _pick_color(rng: np.random.Generator, backdrop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pick a vivid colour that stands out from the background's colours; the best of some tries."""
    best, best_distance = np.zeros(3), -1.0
    for _ in range(12):
        color = _to_rgb(rng.random(), rng.uniform(0.45, 1), rng.uniform(0.35, 1))
        distance = float(np.linalg.norm(backdrop - color, axis=1).min())
        if distance > best_distance:
            best, best_distance = color, distance
        if distance > _MIN_COLOR_DISTANCE:
            break
    return best


def _find_poses(rng: np.random.Generator, height: int, width: int, num_objects: int) -> list[_Pose]:
    """Place discs that do not touch each other, the largest first."""
    side = min(height, width)
    low, high = _choose_radii(num_objects)
    radii = sorted(rng.uniform(low, high, num_objects) * side, reverse=True)
    poses: list[_Pose] = []
    for radius in radii:
        reach = 1.12 * radius
        for _ in range(_PLACING_TRIES):
            y, x = rng.uniform(reach, height - reach), rng.uniform(reach, width - reach)
            if all(np.hypot(y - p.y, x - p.x) > 1.12 * (radius + p.radius) for p in poses):
                poses.append(_Pose(y=y, x=x, radius=radius, turn=rng.uniform(-1, 1)))
                break
    return poses


def _choose_radii(num_objects: int) -> tuple[float, float]:
    """Return the smallest and the largest radius, as shares of the image's shorter side."""
    if num_objects == 1:
        return _RADIUS
    high = 0.5 / float(np.sqrt(num_objects + 1))
    return _SMALLEST_OF_MANY * high, high


def _place_rod(rng: np.random.Generator, canvas: Floats) -> None:
    height, width = canvas.shape[:2]
    pose = _Pose(
        y=rng.uniform(0, height),
        x=rng.uniform(0, width),
        radius=rng.uniform(0.06, 0.22) * min(height, width),
        turn=rng.uniform(-1, 1),
    )
    color = _to_rgb(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 1))
    cover = _cover(_measure(ROD, pose, height, width), 1.0)
    _blend(canvas, color.astype(np.float32), cover * np.float32(rng.uniform(0.5, 0.95)))


def _measure(shape: Shape, pose: _Pose, height: int, width: int) -> Floats:
    """Signed distance of every pixel centre from a placed shape, pixels."""
    x = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - pose.x)
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - pose.y)
    angle = pose.turn * shape.max_turn
    cos, sin = np.float32(np.cos(angle) / pose.radius), np.float32(np.sin(angle) / pose.radius)
    return shape.distance(x * cos + y * sin, y * cos - x * sin) * np.float32(pose.radius)


def _cover(distance: Floats, softness_px: float) -> Floats:
    """Share of each pixel that is inside: antialiasing, or a blurred edge when softer."""
    return np.asarray(np.clip(np.float32(0.5) - distance / np.float32(softness_px), 0, 1))


def _blend(canvas: Floats, color: Floats, cover: Floats) -> None:
    canvas += (color - canvas) * cover[:, :, None]


def _paint_object(
    rng: np.random.Generator,
    canvas: Floats,
    shape: Shape,
    pose: _Pose,
    color: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Paint a shape with shadow, shading and sometimes a rim; return the pixels it covers."""
    height, width = canvas.shape[:2]
    fall = rng.uniform(0.04, 0.14) * pose.radius
    slant = rng.uniform(-1, 1)
    shadow = _Pose(y=pose.y + fall, x=pose.x + slant * fall, radius=pose.radius, turn=pose.turn)
    softness = max(1.0, rng.uniform(0.1, 0.35) * pose.radius)
    shade = _cover(_measure(shape, shadow, height, width), softness)
    canvas *= 1 - shade[:, :, None] * np.float32(rng.uniform(0.15, 0.5))

    distance = _measure(shape, pose, height, width)
    # Light from above: brighter towards the top, darker towards the bottom.
    y = (np.arange(height, dtype=np.float32)[:, None] - np.float32(pose.y)) / pose.radius
    x = (np.arange(width, dtype=np.float32)[None, :] - np.float32(pose.x)) / pose.radius
    light = 1 - np.float32(rng.uniform(0.05, 0.22)) * (y + np.float32(slant) * x)
    if rng.random() < 0.3:
        light = light * (np.float32(0.8) + np.float32(0.4) * draw_noise(rng, height, width))
    if rng.random() < 0.35:
        rim = _cover(-distance - np.float32(0.1 * pose.radius), 1.5)
        light = light * (1 - np.float32(rng.uniform(0.2, 0.5)) * rim)
    painted = color.astype(np.float32) * light[:, :, None]
    _blend(canvas, painted, _cover(distance, 1.0))
    return distance < 0


def _bound(covered: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _finish(rng: np.random.Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Apply the camera: exposure, contrast and sensor noise."""
    contrast, offset = np.float32(rng.uniform(0.75, 1.15)), np.float32(rng.uniform(-0.08, 0.08))
    grain = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0.005, 0.025))
    pixels = (canvas - np.float32(0.5)) * contrast + np.float32(0.5) + offset + grain
    return (np.clip(pixels, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)

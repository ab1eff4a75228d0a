"""Images with regions: fitted to the images that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgevision.data.headers import ImageHeader, read_headers
from edgevision.data.labels import name_some
from edgevision.data.mask_annotations import IGNORED, CheckedMasks, RegionImage
from edgevision.data.mask_classes import is_background_name, match_mask_labels
from edgevision.data.regions import RegionMask
from edgevision.errors import DataError, MissingFileError
from edgevision.specs import Progress


def check_regions(
    images: Sequence[RegionImage],
    names: tuple[str, ...],
    labels: tuple[str, ...],
    *,
    root: Path,
    skip_broken: bool,
    progress: Progress | None,
) -> CheckedMasks:
    """Look at the header of every image, and give every region the index of its class.

    Args:
        images: Images and regions.
        names: Classes of the data set, background first.
        labels: The model's classes; empty for those of the data set.
        root: The data set, for error messages.
        skip_broken: Leave out images that are missing, damaged or of another size.
        progress: Called after every image.

    Raises:
        DataError: Such images, or none of the classes is the model's.
    """
    own = labels or names
    targets, notes = match_mask_labels(names, own, root)
    indices = dict(zip(names, targets, strict=True))
    rest = 0 if is_background_name(own[0]) else IGNORED
    files, sources, faults = [], [], []
    headers = read_headers([image.file for image in images])
    for done, (image, header) in enumerate(zip(images, headers, strict=True)):
        fault = _find_fault(image, header)
        if isinstance(header, ImageHeader) and not fault:
            files.append(image.file)
            sources.append(_build_mask(image, header, indices, rest))
        else:
            faults.append((image.file, fault))
        if progress:
            progress("reading masks", done + 1, len(images))
    if faults and (not skip_broken or not files):
        raise DataError(
            f"{len(faults)} of {len(images)} images can not be used",
            received=name_some([fault for _, fault in faults], separator="; "),
            remedy="add or repair them, or leave them out with --skip-broken",
        )
    return CheckedMasks(
        files=tuple(files), sources=tuple(sources), labels=own, skipped=tuple(faults), notes=notes
    )


def _find_fault(image: RegionImage, header: ImageHeader | DataError | MissingFileError) -> str:
    if not isinstance(header, ImageHeader):
        return f"{image.source.name}: {header}"
    if image.size in (None, header.size, header.upright_size):
        return ""
    height, width = header.upright_size
    return f"{image.source.name} notes another size than {width}x{height} for {image.file}"


def _build_mask(
    image: RegionImage, header: ImageHeader, indices: dict[str, int], rest: int
) -> RegionMask:
    turn = header.find_turn(image.size)
    regions = [
        (IGNORED if name is None else indices.get(name, rest), region)
        for name, region in image.regions
    ]
    return RegionMask(
        source=f"{image.source}, {image.file.name}",
        size=header.upright_size if turn == 1 else header.size,
        regions=tuple(regions),
        rest=rest,
        turn=turn,
    )

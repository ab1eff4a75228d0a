"""Finding the images that an annotation file names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edgevision.data.images import scan_images
from edgevision.errors import DataError


@dataclass(slots=True, kw_only=True, eq=False)
class ImageFinder:
    """Finds images by the names in an annotation file, wherever they are below a folder.

    Attributes:
        root: The folder; it is searched only where a name leads to no file.
        beside: Folder of the annotation file, which is tried first.
    """

    root: Path
    beside: Path
    _base: Path | None = None
    _index: dict[str, list[Path]] = field(default_factory=dict)

    def find(self, name: str) -> Path:
        """Return the path of an image; it does not exist where there is none of that name.

        Raises:
            DataError: Several images fit the name.
        """
        relative = PurePosixPath(name.replace("\\", "/"))
        for base in (self._base, self.beside, self.root, self.root / "images"):
            if base is not None and (base / relative).is_file():
                self._base = base
                return base / relative
        return self._search(relative)

    def _search(self, relative: PurePosixPath) -> Path:
        if not self._index:
            for image in scan_images(self.root)[0]:
                self._index.setdefault(image.name, []).append(image)
        found = self._index.get(relative.name, [])
        exact = [path for path in found if path.as_posix().endswith(f"/{relative}")]
        if len(exact or found) > 1:
            first, second, *_ = exact or found
            raise DataError(
                "an image name fits several files",
                received=f"{relative}: {first} and {second}",
                remedy="name the folder of the images in the annotations",
            )
        place = (exact or found or [self.root / relative])[0]
        if found:
            self._base = _strip_end(place, relative)
        return place


def _strip_end(place: Path, relative: PurePosixPath) -> Path | None:
    """Return the folder that leads from the name to the place, if one does."""
    depth = len(relative.parts)
    fits = place.parts[-depth:] == relative.parts
    return place.parents[depth - 1] if fits else None

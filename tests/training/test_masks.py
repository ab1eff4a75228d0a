from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotated import add_image, add_mask

from edgevision.contract import Preprocessing
from edgevision.data.mask_annotations import IGNORED
from edgevision.data.masks import MaskDataset, read_masks
from edgevision.errors import DataError
from edgevision.training import masks
from edgevision.training.masks import MaskStore, load_masks

SIZE = (4, 6)
VALUES = (
    np.array([[0, 1], [2, IGNORED]], np.uint8),
    np.array([[1, 1], [0, 0]], np.uint8),
    np.array([[2, 0], [0, 1]], np.uint8),
)


@pytest.fixture
def dataset(tmp_path: Path) -> MaskDataset:
    """Three masks of two by two pixels."""
    for number, values in enumerate(VALUES):
        add_image(tmp_path / f"images/{number}.png", values.shape)
        add_mask(tmp_path / f"masks/{number}.png", values)
    return read_masks(tmp_path)


def load(dataset: MaskDataset, ignore_index: int | None = None) -> MaskStore:
    return load_masks(
        dataset,
        preprocessing=Preprocessing(resize="stretch"),
        size=SIZE,
        ignore_index=ignore_index,
        threads=2,
    )


def enlarge(values: np.ndarray) -> np.ndarray:
    """From 2 by 2 to 4 by 6."""
    return np.repeat(np.repeat(values, 2, axis=0), 3, axis=1)


@pytest.mark.parametrize("fits", [True, False])
def test_masks_are_the_same_whether_held_or_decoded_again(
    fits: bool, dataset: MaskDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = len(dataset) * SIZE[0] * SIZE[1]
    monkeypatch.setattr(masks, "MEMORY_LIMIT_BYTES", needed if fits else needed - 1)
    store = load(dataset)
    assert (store.cached is not None) == fits
    fetched = store.fetch(np.array([2, 0]))
    assert fetched.dtype == np.uint8
    assert np.array_equal(fetched, [enlarge(VALUES[2]), enlarge(VALUES[0])])
    assert np.array_equal(list(store), [enlarge(values) for values in VALUES])


def test_a_value_can_count_as_no_class(dataset: MaskDataset) -> None:
    mask = load(dataset, ignore_index=2).fetch(np.array([0]))[0]
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, enlarge(np.array([[0, 1], [IGNORED, IGNORED]], np.uint8)))


def test_a_class_without_a_label_is_an_error_unless_it_is_ignored(dataset: MaskDataset) -> None:
    def read(index: int) -> np.ndarray:
        return np.where(VALUES[index] == 2, np.uint8(7), VALUES[index])

    class Renumbered(MaskDataset):
        """What a file looks like that changed since it was read."""

        def load_mask(self, index: int) -> np.ndarray:
            return read(index)

    changed = Renumbered(files=dataset.files, sources=dataset.sources, labels=dataset.labels)
    with pytest.raises(DataError, match=r"0\.png: class 7, 3 labels.*--ignore-index"):
        load(changed)
    assert load(changed, ignore_index=7).fetch(np.arange(3)).max() == IGNORED

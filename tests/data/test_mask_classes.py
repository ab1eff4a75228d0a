from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.data.mask_classes import decide_classes, is_background_name, match_mask_labels
from edgevision.errors import DataError

SOURCE = Path("masks")


def decide(values: set[int], names: tuple[str, ...] = (), labels: tuple[str, ...] = ()):
    return decide_classes(frozenset(values), names, labels, SOURCE)


def test_zero_and_one_are_background_and_foreground() -> None:
    for values in ({0, 1}, {0, 1, 255}, {1}):
        classes = decide(values)
        assert classes.labels == ("background", "foreground")
        assert classes.table[[0, 1, 2, 255]].tolist() == [0, 1, 255, 255]


def test_a_value_that_is_ignored_is_no_class() -> None:
    classes = decide_classes(frozenset({0, 1, 200, 255}), (), (), SOURCE, ignore_index=200)
    assert classes.labels == ("background", "foreground")
    assert classes.table[[0, 1, 200, 255]].tolist() == [0, 1, 255, 255]
    named = decide_classes(frozenset({0, 200, 255}), (), ("rest", "cell"), SOURCE, ignore_index=200)
    assert named.table[[0, 200, 255]].tolist() == [0, 255, 1]
    unused = decide_classes(frozenset({0, 255}), (), (), SOURCE, ignore_index=255)
    assert unused.table[255] == 1


def test_one_name_is_that_of_the_object() -> None:
    assert decide({0, 255}, names=("cell",)).labels == ("background", "cell")
    assert decide({255}, labels=("rest", "cell")).table[255] == 1


def test_values_follow_the_names_into_the_model() -> None:
    classes = decide({0, 1, 2}, ("background", "cat", "dog"), ("background", "dog", "cat"))
    assert classes.labels == ("background", "dog", "cat")
    assert classes.table[:4].tolist() == [0, 2, 1, 255]
    # Without a background among the labels, its pixels are ignored.
    classes = decide({0, 1, 2}, ("background", "road", "sky"), ("sky", "road"))
    assert classes.table[:3].tolist() == [255, 1, 0]
    assert not classes.notes


def test_masks_without_names_take_the_labels_in_order() -> None:
    assert decide({0, 3, 255}, labels=tuple("abcd")).table[:5].tolist() == [0, 1, 2, 3, 255]


def test_what_can_not_be_classes() -> None:
    with pytest.raises(DataError, match=r"below 2.*masks: 4, 5\)"):
        decide({0, 4, 5}, labels=("a", "b"))
    with pytest.raises(DataError, match="nothing but background"):
        decide({0})
    with pytest.raises(DataError, match="nothing but background"):
        decide(set())
    with pytest.raises(DataError, match=r"shades of gray .*200 different"):
        decide(set(range(200)))
    with pytest.raises(DataError, match=r"two classes .*3 classes"):
        decide({0, 255}, names=("background", "a", "b"))


def test_background_is_known_by_any_of_its_names() -> None:
    names = ("__background__", "cat")
    assert match_mask_labels(names, ("background", "cat"), SOURCE) == ([0, 1], ())
    assert match_mask_labels(("background",), ("background", "cat"), SOURCE) == ([0], ())
    targets, notes = match_mask_labels((*names, "dog"), ("cat", "bus"), SOURCE)
    assert targets == [255, 0, 255]
    assert notes == ("classes that the model lacks are ignored: dog",)
    assert not is_background_name("ground")

"""The table names networks that exist, and its figures are in order."""

from __future__ import annotations

import pytest

from edgevision.benchmarks.published import PUBLISHED, find_published
from edgevision.models.registry import SPECS
from edgevision.specs import Task


def test_every_row_names_a_classifier_of_the_zoo() -> None:
    assert {SPECS[name].task for name, _, _ in PUBLISHED} == {Task.CLASSIFY}


def test_networks_with_published_weights_have_a_published_accuracy() -> None:
    expected = {
        (spec.name, alpha, side)
        for spec in SPECS.values()
        if spec.task is Task.CLASSIFY and spec.published
        for alpha, side in spec.published.files
    }
    assert expected <= set(PUBLISHED)


def test_accuracy_grows_with_width_and_with_input_size() -> None:
    for (name, alpha, side), row in PUBLISHED.items():
        for (other, width, pixels), wider in PUBLISHED.items():
            if other == name and width >= alpha and pixels >= side:
                assert wider.top1 >= row.top1


def test_top5_is_above_top1_and_every_row_has_a_source() -> None:
    for row in PUBLISHED.values():
        assert 0.4 < row.top1 < (row.top5 or 1.0) <= 1.0
        assert "http" in row.source or "arXiv" in row.source


@pytest.mark.parametrize("size", [(96, 128), (97, 97)])
def test_other_sizes_have_none(size: tuple[int, int]) -> None:
    assert find_published("mobilenet_v2", 1.0, size) is None

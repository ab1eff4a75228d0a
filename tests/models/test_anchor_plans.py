from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from edgevision.graph.anchors import lay_out_anchors
from edgevision.graph.ops import OpKind
from edgevision.graph.reader import read_graph
from edgevision.models.anchor_plans import plan_pyramid_anchors, plan_ssd_anchors


def test_ssd_anchors_at_300_are_the_papers() -> None:
    grids = plan_ssd_anchors((300, 300))
    assert [grid.size for grid in grids] == [(s, s) for s in (19, 10, 5, 3, 2, 1)]
    assert sum(g.size[0] * g.size[1] * len(g.boxes) for g in grids) == 19 * 19 * 3 + 139 * 6 == 1917
    lowest, second = grids[0].boxes, grids[1].boxes
    flat, tall = (0.2 / sqrt(2), 0.2 * sqrt(2)), (0.2 * sqrt(2), 0.2 / sqrt(2))
    np.testing.assert_allclose(lowest, [(0.1, 0.1), flat, tall])
    np.testing.assert_allclose(second[0], (0.35, 0.35))
    np.testing.assert_allclose(second[3], (0.35 / sqrt(3), 0.35 * sqrt(3)))
    np.testing.assert_allclose(second[5], [sqrt(0.35 * 0.5)] * 2)
    np.testing.assert_allclose(grids[-1].boxes[5], [sqrt(0.95)] * 2)


def test_squares_stay_square_on_rectangular_inputs() -> None:
    for plan in (plan_ssd_anchors, plan_pyramid_anchors):
        for grid in plan((96, 160)):
            height, width = grid.boxes[0]
            assert height * 96 == pytest.approx(width * 160)
    assert plan_ssd_anchors((96, 160))[1].boxes[0][0] == pytest.approx(0.35)


def test_pyramid_anchors_are_four_cells_wide() -> None:
    grids = plan_pyramid_anchors((320, 320))
    assert [grid.size[0] for grid in grids] == [40, 20, 10, 5, 3]
    assert {len(grid.boxes) for grid in grids} == {6}
    np.testing.assert_allclose(grids[0].boxes[0], [4 * 8 / 320] * 2)
    np.testing.assert_allclose(grids[0].boxes[1], [4 * sqrt(2) * 8 / 320] * 2)
    height, width = grids[2].boxes[2]
    assert (width / height, height * width) == pytest.approx((2, (4 * 32 / 320) ** 2))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 48)])
def test_small_inputs_have_anchors_on_every_map(size: tuple[int, int]) -> None:
    for plan in (plan_ssd_anchors, plan_pyramid_anchors):
        assert min(side for grid in plan(size) for side in grid.size) == 1


def test_ssd_anchors_are_those_of_a_published_file(real_data: Path) -> None:
    graph = read_graph(real_data / "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")
    (op,) = [op for op in graph.ops if op.kind is OpKind.DETECTION_POSTPROCESS]
    anchors = graph.tensors[op.inputs[2]]
    assert anchors.data is not None
    scale, zero = anchors.quantization.scales[0], anchors.quantization.zero_points[0]  # type: ignore[union-attr]
    published = scale * (anchors.data.astype(np.float64) - zero)
    ours = lay_out_anchors(plan_ssd_anchors((300, 300)))
    np.testing.assert_allclose(ours, published, atol=scale)

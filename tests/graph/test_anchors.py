from __future__ import annotations

import numpy as np

from edgevision.contract import AnchorGrid
from edgevision.graph.anchors import decode_boxes, encode_boxes, lay_out_anchors

SCALES = (10.0, 10.0, 5.0, 5.0)
GRIDS = (
    AnchorGrid(size=(2, 3), boxes=((0.1, 0.2), (0.4, 0.3))),
    AnchorGrid(size=(1, 1), boxes=((0.9, 0.8),)),
)


def test_anchors_are_counted_by_row_column_and_box() -> None:
    anchors = lay_out_anchors(GRIDS)
    assert anchors.shape == (2 * 3 * 2 + 1, 4)
    # Second row, third column, second box.
    np.testing.assert_allclose(anchors[(1 * 3 + 2) * 2 + 1], (1.5 / 2, 2.5 / 3, 0.4, 0.3))
    np.testing.assert_allclose(anchors[-1], (0.5, 0.5, 0.9, 0.8))


def test_no_grids_are_no_anchors() -> None:
    assert lay_out_anchors(()).shape == (0, 4)


def test_offsets_by_hand() -> None:
    # A box of twice the anchor's height, a tenth of an anchor to the right.
    anchor = np.array([[0.5, 0.5, 0.2, 0.4]])
    box = np.array([[0.3, 0.34, 0.7, 0.74]])
    encoded = encode_boxes(box, anchor, SCALES)
    np.testing.assert_allclose(encoded, [[0, 10 * 0.1, 5 * np.log(2), 0]], atol=1e-6)


def test_decoding_undoes_encoding() -> None:
    rng = np.random.default_rng(0)
    anchors = lay_out_anchors(GRIDS)
    corners = np.sort(rng.uniform(0, 1, (len(anchors), 2, 2)), axis=1).reshape(-1, 4)
    decoded = decode_boxes(encode_boxes(corners, anchors, SCALES), anchors, SCALES)
    np.testing.assert_allclose(decoded, corners, atol=1e-6)

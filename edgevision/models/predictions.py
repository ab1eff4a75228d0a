"""How a detector's maps of predictions become its two outputs.

The layout is that of the TensorFlow Object Detection API: offsets of centre y, centre x, height and
width for each anchor, and a score for each class behind a score for the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from edgevision.models.config import NetworkConfig
from edgevision.models.net import Net, T

BOX_ENCODINGS = "box_encodings"
CLASS_SCORES = "class_scores"

BOX_VALUES = 4

SCORE_LAYERS = "head_scores"
"""With this the names of all layers begin that make scores out of features."""


def count_scores(config: NetworkConfig) -> int:
    """Return the scores of one anchor: the background's and one per class."""
    return config.num_classes + 1


def join_predictions(
    net: Net[T], boxes: Sequence[T], scores: Sequence[T], config: NetworkConfig
) -> dict[str, T]:
    """Put the anchors of all maps in a row.

    Scores are activated map by map: each map's logits then keep a quantization scale of their own,
    and what is joined shares the fixed scale of a sigmoid.

    Args:
        net: The reading.
        boxes: ``(height, width, anchors * 4)`` per map.
        scores: ``(height, width, anchors * (num_classes + 1))`` per map, logits.
        config: Classes and activation.

    Returns:
        ``box_encodings`` of shape ``(A, 4)`` and ``class_scores`` of ``(A, num_classes + 1)``.
    """
    function = config.classifier_activation
    width = count_scores(config)
    rows, activated = [], []
    for number, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        rows.append(_list_anchors(net, box, BOX_VALUES, name=f"head_boxes_{number}_rows"))
        x = _list_anchors(net, score, width, name=f"head_scores_{number}_rows")
        name = f"head_scores_{number}_{function.value}"
        activated.append(net.activation(x, function, name=name))
    return {
        BOX_ENCODINGS: net.concat(rows, axis=1, name="head_box_encodings"),
        CLASS_SCORES: net.concat(activated, axis=1, name="head_class_scores"),
    }


def _list_anchors(net: Net[T], x: T, values: int, *, name: str) -> T:
    """Give each anchor a row of its own; the number of rows is fixed, for the converters."""
    return net.reshape(x, (prod(net.shape_of(x)) // values, values), name=name)

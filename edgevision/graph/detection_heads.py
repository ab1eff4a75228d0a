"""What the outputs of a detector are called, and which of them holds what."""

from __future__ import annotations

from collections.abc import Sequence

from edgevision.errors import InvalidModelError
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind

BOX_ENCODINGS = "box_encodings"
CLASS_SCORES = "class_scores"
RAW_HEADS = (BOX_ENCODINGS, CLASS_SCORES)
"""Names of the raw outputs: (1, A, 4) and (1, A, C) or, with background, (1, A, C + 1)."""

RESULTS = ("boxes", "classes", "scores", "count")
"""Names of the outputs behind non-maximum suppression, in the order of the TFLite operation."""

_COORDINATES = 4
_RANK = 3
_POSTPROCESSING = (OpKind.DETECTION_POSTPROCESS, OpKind.NMS)


def pair_heads(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Tell the box head from the class head.

    Names decide; without them the one with four values per anchor has the boxes, and where both
    have, the first one.

    Args:
        names: Of the outputs.
        shapes: The same.

    Returns:
        Positions of the box encodings and of the class scores.

    Raises:
        InvalidModelError: The outputs are no pair of heads.

    >>> pair_heads(["a", "b"], [(1, 6, 91), (1, 6, 4)])
    (1, 0)
    """
    if set(RAW_HEADS) <= set(names):
        return names.index(BOX_ENCODINGS), names.index(CLASS_SCORES)
    boxes = [i for i, s in enumerate(shapes) if len(s) == _RANK and s[-1] == _COORDINATES]
    alike = len(shapes) == 2 and all(len(s) == _RANK and s[1] == shapes[0][1] for s in shapes)
    if not alike or not boxes:
        raise InvalidModelError(
            "a detector has two raw outputs, four values and the class scores of each anchor",
            received=", ".join(f"{n} {list(s)}" for n, s in zip(names, shapes, strict=True)),
            remedy=f"name the outputs {BOX_ENCODINGS} (1, A, 4) and {CLASS_SCORES} (1, A, C)",
        )
    return boxes[0], 1 - boxes[0]


def find_heads(graph: Graph) -> tuple[int, int]:
    """Return the tensors of a network's box and class head.

    Raises:
        InvalidModelError: Its outputs are no pair of heads.
    """
    names = name_outputs(graph)
    boxes, scores = pair_heads(names, [spec.shape for spec in graph.output_specs()])
    return graph.outputs[boxes], graph.outputs[scores]


def name_outputs(graph: Graph) -> list[str]:
    """Name the outputs as the signature does, where the file has one that covers them."""
    own = [graph.tensors[t].name for t in graph.outputs]
    for _, results in graph.signatures.values():
        names = {tensor: name for name, tensor in results.items()}
        if set(names) == set(graph.outputs):
            return [names[t] for t in graph.outputs]
    return own


def has_postprocess(graph: Graph) -> bool:
    """Whether a detector suppresses overlapping boxes itself."""
    return any(op.kind in _POSTPROCESSING for op in graph.ops)

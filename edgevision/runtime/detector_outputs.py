"""Which output of a detector holds what, and what its classes are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgevision.contract import Contract
from edgevision.errors import InvalidModelError
from edgevision.graph.contract_guesses import count_classes, is_background
from edgevision.graph.detection_heads import BOX_ENCODINGS, CLASS_SCORES, RESULTS, pair_heads
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.graph.postprocess import get_postprocess
from edgevision.specs import Task, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOutputs:
    """The outputs of a detector by what they hold.

    Attributes:
        specs: By ``boxes``, ``classes``, ``scores`` and ``count``; or, of a file that leaves
            decoding and suppression to its reader, ``box_encodings`` and ``class_scores``.
        num_classes: Object classes, 0 where the outputs do not tell.
    """

    specs: Mapping[str, TensorSpec]
    num_classes: int = 0

    @property
    def raw(self) -> bool:
        """Whether the boxes are still to be decoded and suppressed."""
        return BOX_ENCODINGS in self.specs


def find_outputs(
    specs: Sequence[TensorSpec], contract: Contract, graph: Graph | None = None
) -> DetectorOutputs:
    """Tell what each output of a detector holds.

    Names decide. Where they say nothing, ``TFLite_Detection_PostProcess`` does, whose outputs have
    a fixed order that is not that of the file's; then the shapes of a pair of raw heads.

    Args:
        specs: The outputs of a session, in the order of the file.
        contract: What the file says about itself.
        graph: The network in the file, where it is at hand.

    Raises:
        InvalidModelError: The outputs are not those of a detector, or raw ones without anchors.
    """
    found = _find_by_name(specs) or _find_by_op(specs, graph)
    if found:
        num_classes = count_classes(graph, Task.DETECT) if graph is not None else 0
        return DetectorOutputs(specs=found, num_classes=num_classes)
    boxes, scores = _pair_raw(specs)
    return _check_raw(boxes, scores, contract)


def complete_labels(contract: Contract, num_classes: int) -> tuple[str, ...]:
    """Return the names of a detector's object classes.

    A list that begins with the background (``???`` in many) has one name more than there are
    classes, since no detector reports background.

    Args:
        contract: Its labels, possibly none.
        num_classes: Number of object classes, 0 where it is unknown.

    Returns:
        As many names as there are classes; the contract's own where their number is unknown.

    Raises:
        InvalidModelError: There are more or fewer.
    """
    labels = contract.labels
    surplus = len(labels) - num_classes if num_classes else 1
    if labels and is_background(labels[0]) and surplus == 1:
        labels = labels[1:]
    if not labels:
        return tuple(f"class {i}" for i in range(num_classes))
    if num_classes and len(labels) != num_classes:
        raise InvalidModelError(
            "a detector has one label for each class of objects, and none for the background",
            received=f"{len(labels)} labels for {num_classes} classes",
            remedy="give the right list of labels",
        )
    return labels


def _find_by_name(specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    named = {spec.name: spec for spec in specs}
    return {name: named[name] for name in RESULTS} if set(RESULTS) <= set(named) else {}


def _find_by_op(specs: Sequence[TensorSpec], graph: Graph | None) -> dict[str, TensorSpec]:
    if graph is None or not any(op.kind is OpKind.DETECTION_POSTPROCESS for op in graph.ops):
        return {}
    tensors = get_postprocess(graph).outputs
    if not set(tensors) <= set(graph.outputs):
        return {}
    places = [graph.outputs.index(tensor) for tensor in tensors]
    return {name: specs[place] for name, place in zip(RESULTS, places, strict=True)}


def _pair_raw(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, TensorSpec]:
    try:
        boxes, scores = pair_heads([s.name for s in specs], [s.shape for s in specs])
    except InvalidModelError as error:
        raise InvalidModelError(
            f"a detector answers {', '.join(RESULTS)}, or {BOX_ENCODINGS} and {CLASS_SCORES}",
            received=", ".join(f"{s.name} {s.shape}" for s in specs) or "no output",
            remedy="if it classifies or segments, load it with that task",
        ) from error
    return specs[boxes], specs[scores]


def _check_raw(boxes: TensorSpec, scores: TensorSpec, contract: Contract) -> DetectorOutputs:
    detection = contract.detection
    if detection is None or not detection.anchors:
        raise InvalidModelError(
            "a detector with raw outputs needs its anchors, and the file does not say them",
            received=f"{boxes.name} {boxes.shape}, {scores.name} {scores.shape}",
            remedy="convert it with edgevision, which writes them into the file",
        )
    num_anchors = detection.num_anchors
    if boxes.shape[-2:] != (num_anchors, 4) or scores.shape[-2:-1] != (num_anchors,):
        raise InvalidModelError(
            "a detector has one pair of outputs for each anchor",
            received=f"{num_anchors} anchors, {boxes.name} {boxes.shape}, "
            f"{scores.name} {scores.shape}",
            remedy="the contract belongs to another model, or to another input size",
        )
    return DetectorOutputs(
        specs={BOX_ENCODINGS: boxes, CLASS_SCORES: scores},
        num_classes=scores.shape[-1] - detection.background,
    )

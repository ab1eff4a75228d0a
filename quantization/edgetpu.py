"""Which operations of a quantized model the Edge TPU would leave to the CPU, in words."""

from __future__ import annotations

from collections.abc import Sequence

from edgevision.errors import UnsupportedOpError
from edgevision.graph.edgetpu_rules import Refusal, find_refusals
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.layers import WEIGHTED


def check_edgetpu(model: bytes) -> tuple[str, ...]:
    """Tell what of a quantized model stays on the CPU, and why.

    Args:
        model: Bytes of the ``.tflite``, before Google's compiler.

    Returns:
        One sentence for the whole and one for each cause; empty where everything is mapped.

    Raises:
        UnsupportedOpError: No layer with weights would be mapped.
    """
    graph = read_tflite(model)
    refusals = find_refusals(graph)
    left = {refusal.op.index for refusal in refusals}
    if all(op.index in left for op in graph.ops if op.kind in WEIGHTED):
        raise _explain_nothing(refusals)
    if not refusals:
        return ()
    mapped = len(graph.ops) - len(refusals)
    whole = (
        f"the Edge TPU would take {mapped} of {len(graph.ops)} operations; "
        "what it does not take and all that needs it stay on the CPU"
    )
    return whole, *_describe_causes(graph, refusals)


def _describe_causes(graph: Graph, refusals: Sequence[Refusal]) -> list[str]:
    """Name every kind of operation that is refused, with the reason and the first such place."""
    groups = dict[tuple[str, str], list[Refusal]]()
    for refusal in refusals:
        if refusal.is_cause:
            groups.setdefault((refusal.op.name, refusal.reason), []).append(refusal)
    return [
        f"on the CPU: {len(found)} {name}, first {_name_place(graph, found[0])!r}: {reason}"
        for (name, reason), found in groups.items()
    ]


def _name_place(graph: Graph, refusal: Refusal) -> str:
    return graph.tensors[refusal.op.outputs[0]].name.partition(";")[0]


def _explain_nothing(refusals: Sequence[Refusal]) -> UnsupportedOpError:
    first = next(refusal for refusal in refusals if refusal.is_cause)
    return UnsupportedOpError(
        "the Edge TPU would run no layer of this model",
        received=f"{first.op.name}: {first.reason}",
        remedy="--scheme int8 makes a file for the CPU",
    )

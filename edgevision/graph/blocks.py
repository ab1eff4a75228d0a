"""Which block of the network an operation belongs to, from the names that builders give."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from edgevision.graph.graph import Graph, Op

# The shortest part of a name that ends in a number of its own: block_3, features.3, Conv2d_3.
_NUMBERED = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._][A-Za-z][A-Za-z0-9]*)*?[._]\d+(?![A-Za-z0-9])")
_FIRST_WORD = re.compile(r"[A-Za-z0-9]+")
# TensorFlow adds _1 to every name when a network is called once more.
_REPEATED = re.compile(r"(?!conv_[dp]w_1$)[a-z]+(?:_[a-z]+[0-9]*)+_1$")
# Keras names the two halves of a depthwise-separable block apart.
_HALVES = re.compile(r"^conv_(?:dw|pw)_(\d+)$")


def name_layer(graph: Graph, op: Op) -> str:
    """Return the name of an operation for people: its layer, or its first output."""
    if op.label:
        return op.label
    written = next(graph.op_outputs(op), None)
    # Converters string together the names of all that they fused.
    return "" if written is None else written.name.partition(";")[0]


def name_blocks(names: Sequence[str]) -> list[str]:
    """Return the block of every layer, from the layers' names.

    A folder that most names share (usually the network's own name) is left out; of the rest the
    first folder with a number ends in it, and a layer without number goes by its first word.

    >>> name_blocks(["net/stem", "net/block_1_depthwise_bn/FusedBatchNormV3", "net/head_logits"])
    ['stem', 'block_1', 'head']
    >>> name_blocks(["conv_dw_1_relu", "conv_pw_1"])
    ['conv_1', 'conv_1']
    """
    folders = [[part for part in name.split("/") if part] for name in names]
    return [_name_block(parts) for parts in _drop_shared(folders)]


def _drop_shared(folders: list[list[str]]) -> list[list[str]]:
    """Leave out the folder that most names begin with, as long as there is one."""
    while len(folders) > 1:
        first = Counter(parts[0] for parts in folders if len(parts) > 1)
        name, count = first.most_common(1)[0] if first else ("", 0)
        if count <= len(folders) / 2:
            break
        folders = [parts[1:] if len(parts) > 1 and parts[0] == name else parts for parts in folders]
    return folders


def _name_block(parts: Sequence[str]) -> str:
    for part in parts:
        found = _NUMBERED.match(part)
        if found and not _REPEATED.match(part):
            halves = _HALVES.match(found.group())
            return f"conv_{halves.group(1)}" if halves else found.group()
    word = _FIRST_WORD.search(parts[0]) if parts else None
    return word.group() if word else "other"

"""Layer names that people know, out of the tensor names that converters write.

Keras layers become ``model_1/block_5_depthwise_relu6_1/Relu6;model_1/…``: the model, the layer and
the operation, joined by ``;`` for everything that was fused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# What TensorFlow calls operations, as the last part of a path, with or without a number.
_OPERATION = re.compile(
    r"(Relu6?|Relu|BiasAdd|MatMul|Conv2D|depthwise|FusedBatchNormV?\d*|Softmax|Sigmoid|Mean|"
    r"AvgPool|MaxPool|add|Add|AddV2|mul|Mul|concat|convolution|conv2d_transpose|Reshape|Pad|"
    r"ReadVariableOp|resource|hard_swish|HardSwish|Tanh)(_?\d+)?$"
)
_NORMALIZATION = re.compile(r"batch_?norm(_\d+)?$", re.IGNORECASE)
_SUFFIX = re.compile(
    r"_(relu6?|bn|batch_?norm(alization)?|batchnorm|activation|hard_swish)(_\d+)?$"
)
_GENERIC = re.compile(r"(activation|re_?lu6?|batch_?norm(alization)?|bn|relu)(_\d+)*$")
# What a converter calls the outputs of a network without a name of their own.
_NAMELESS = re.compile(r"((Stateful)?PartitionedCall|Identity)(_\d+)?(:\d+)?$")
_KERNEL = re.compile(r"(BiasAdd|Conv2D|depthwise|MatMul|conv2d_transpose|convolution)\d*$")
_BLOCK = re.compile(
    r"(?:^|[_/])((?:expanded_conv|inverted_residual|bottleneck|block|stage|layer)_?\d*)"
)


def name_layers(names: Sequence[str], ops: Sequence[str] = ()) -> list[str]:
    """Return a short name for each tensor; where two came out alike, they keep their own.

    Args:
        names: Of the tensors that the layers write.
        ops: TFLite names of the layers; they name outputs that have no name of their own.

    >>> name_layers(["m_1/block_5_depthwise_relu6_1/Relu6;m_1/x/add", "m_1/block_5_add_1/add"])
    ['block_5_depthwise', 'block_5_add_1']
    >>> name_layers(["a/activation_1/Relu;a/bn_1/FusedBatchNormV3;a/conv2d_1/Conv2D", "a/b/Mean"])
    ['conv2d_1', 'b']
    """
    paths = [_choose_path(name) for name in names]
    depth = _count_shared(paths)
    short = [_shorten(path[depth:]) or "/".join(path) for path in paths]
    for index, op in enumerate(ops):
        if _NAMELESS.match(names[index]):
            short[index] = op.lower()
    return [
        text if short.count(text) == 1 else name.partition(";")[0]
        for text, name in zip(short, names, strict=True)
    ]


def find_block(name: str) -> str:
    """Return the block that a layer's name tells of, otherwise nothing.

    >>> find_block("block_5_depthwise"), find_block("expanded_conv_2/project"), find_block("stem")
    ('block_5', 'expanded_conv_2', '')
    """
    found = _BLOCK.search(name)
    return found[1] if found else ""


def _choose_path(name: str) -> list[str]:
    """Return the path that tells most: of the layer, where the first one is just an activation."""
    paths = [part.split("/") for part in name.split(";") if part]
    if not paths:
        return [name]
    first = paths[0]
    if len(first) > 1 and _GENERIC.match(first[-2]):
        others = [p for p in paths[1:] if len(p) > 1 and not _GENERIC.match(p[-2])]
        kernels = [p for p in others if _KERNEL.match(p[-1])]
        return next(iter((*kernels, *others)), first)
    return first


def _count_shared(paths: Sequence[Sequence[str]]) -> int:
    """Count the parts that every longer path begins with: the model's name."""
    longer = [path for path in paths if len(path) > 2]
    if len(longer) < 2:
        return 0
    depth = 0
    while all(len(p) > depth + 2 for p in longer) and len({p[depth] for p in longer}) == 1:
        depth += 1
    return depth


def _shorten(path: Sequence[str]) -> str:
    parts = list(path)
    if len(parts) > 1 and _OPERATION.match(parts[-1]):
        parts.pop()
    if len(parts) > 1 and _NORMALIZATION.match(parts[-1]):
        parts.pop()
    return _SUFFIX.sub("", "/".join(parts))

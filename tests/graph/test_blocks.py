from __future__ import annotations

import pytest
from tiny_graphs import GraphSketch

from edgevision.graph.blocks import name_blocks, name_layer
from edgevision.graph.ops import OpKind


@pytest.mark.parametrize(
    ("names", "blocks"),
    [
        (
            ["stem", "stem_bn", "block_1_depthwise", "head_pool"],
            ["stem", "stem", "block_1", "head"],
        ),
        (["net/block_1_a/Conv2D", "net/block_2_a/Relu6"], ["block_1", "block_2"]),
        (
            ["MobilenetV1/A/Conv2d_3_depthwise/Relu6", "MobilenetV1/A/Logits/x"],
            ["Conv2d_3", "Logits"],
        ),
        (["/features/features.3/conv/Conv", "/classifier/Gemm"], ["features.3", "classifier"]),
        (["conv_dw_12_relu", "conv_pw_12", "conv_preds"], ["conv_12", "conv_12", "conv"]),
        (["head_stride_1_conv_1_depthwise"], ["head_stride_1"]),
        (["FeatureExtractor/BoxPredictor_0/x", "convert"], ["BoxPredictor_0", "convert"]),
        (["net_1/stem_hard_swish_1/x", "net_1/stem_1/y"], ["stem", "stem_1"]),
        (["", "/"], ["other", "other"]),
        ([], []),
    ],
)
def test_block_is_the_numbered_part_of_a_name(names: list[str], blocks: list[str]) -> None:
    assert name_blocks(names) == blocks


def test_a_number_within_a_word_ends_no_block() -> None:
    assert name_blocks(["conv2d_relu6", "block_1x1_conv"]) == ["conv2d", "block"]


def test_a_layer_without_label_goes_by_what_it_writes() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 4), sketch.tensor(1, 4)
    sketch.op(OpKind.SOFTMAX, [x], [y])
    graph = sketch.graph([x], [y])
    assert name_layer(graph, graph.ops[0]) == graph.tensors[y].name

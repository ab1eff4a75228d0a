from __future__ import annotations

from edgevision.quantization.diagnosis.names import find_block, name_layers


def test_layers_of_keras() -> None:
    names = [
        "model_1/stem_relu6_1/Relu6;model_1/stem_bn/FusedBatchNormV3;model_1/stem/convolution",
        "model_1/block_5_depthwise_relu6_1/Relu6;model_1/x/add",
        "model_1/block_5_project_bn_1/add",
        "model_1/logits/BiasAdd",
        "StatefulPartitionedCall:0",
    ]
    assert name_layers(names) == [
        *("stem", "block_5_depthwise", "block_5_project", "logits"),
        "StatefulPartitionedCall:0",
    ]


def test_an_activation_is_named_by_its_layer() -> None:
    names = [
        "model/activation/Relu;model/bn/FusedBatchNormV3;model/conv2d/BiasAdd;model/conv2d/Conv2D1",
        "model/activation_1/Relu;model/bn_1/FusedBatchNormV3;model/depthwise_conv2d/depthwise",
        "model/flatten/Reshape",
    ]
    assert name_layers(names) == ["conv2d", "depthwise_conv2d", "flatten"]


def test_names_stay_apart() -> None:
    names = ["net/block_relu_1/Relu;x", "net/block_bn/add;y", "net/other/add", ""]
    found = name_layers(names)
    assert len(set(found)) == 4
    assert found[:2] == ["net/block_relu_1/Relu", "net/block_bn/add"]
    assert name_layers([]) == []


def test_outputs_without_a_name() -> None:
    names = ["a/b/conv_1/Conv2D", "a/b/dense_1/MatMul", "StatefulPartitionedCall_1:0"]
    assert name_layers(names, ["CONV_2D", "FULLY_CONNECTED", "SOFTMAX"])[-1] == "softmax"


def test_numbers_that_keras_appends() -> None:
    names = [
        "f_1/m_1/activation_2_1/Relu;f_1/m_1/add_1/Add",
        "f_1/m_1/batch_normalization_4_1/batchnorm/add_1;f_1/m_1/conv2d_4_1/BiasAdd",
    ]
    assert name_layers(names) == ["add_1", "conv2d_4_1"]


def test_layers_of_slim() -> None:
    names = [
        "MobilenetV2/expanded_conv/depthwise/Relu6",
        "MobilenetV2/expanded_conv/project/BatchNorm/FusedBatchNorm",
        "MobilenetV2/expanded_conv_1/add",
    ]
    assert name_layers(names) == [
        *("expanded_conv/depthwise", "expanded_conv/project", "expanded_conv_1"),
    ]


def test_blocks() -> None:
    assert find_block("MobilenetV2/expanded_conv_12/project") == "expanded_conv_12"
    assert find_block("decoder") == ""

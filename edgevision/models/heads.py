"""Classifier heads. Their layers' names begin with ``head_``, so that training can find them."""

from __future__ import annotations

from edgevision.models.blocks import Norm, conv_norm_act
from edgevision.models.config import NetworkConfig
from edgevision.models.net import Activation, Features, Net, T

HEAD_PREFIX = "head_"


def conv_head(
    net: Net[T],
    features: Features[T],
    config: NetworkConfig,
    *,
    hidden: int = 0,
    activation: Activation = Activation.LINEAR,
    norm: Norm | None = None,
) -> T:
    """Pool, optionally widen to ``hidden`` channels, and classify, all by 1×1 convolutions.

    The head of MobileNetV1 (no hidden layer), of V3, and of V4 (which normalizes the hidden one).
    """
    x = net.global_pool(features.last, keepdims=True, name="head_pool")
    if hidden and norm:
        x = conv_norm_act(net, x, hidden, 1, norm=norm, activation=activation, name="head_conv")
    elif hidden:
        x = net.conv(x, hidden, 1, name="head_conv")
        x = net.activation(x, activation, name=f"head_conv_{activation.value}")
    x = _drop(net, x, config)
    x = net.conv(x, config.num_classes, 1, name="head_logits")
    x = net.flatten(x, name="head_flatten")
    return _score(net, x, config)


def dense_head(net: Net[T], features: Features[T], config: NetworkConfig) -> T:
    """Pool and classify by a matrix: the head of MobileNetV2."""
    x = net.global_pool(features.last, name="head_pool")
    x = net.dense(_drop(net, x, config), config.num_classes, name="head_logits")
    return _score(net, x, config)


def pooled_features(net: Net[T], features: Features[T], config: NetworkConfig) -> T:
    """Return what a network without its classifier gives: the last map, or its channels pooled."""
    if config.pooling is None:
        return features.last
    return net.global_pool(features.last, kind=config.pooling, name="features_pool")


def _drop(net: Net[T], x: T, config: NetworkConfig) -> T:
    return net.dropout(x, config.dropout, name="head_dropout") if config.dropout else x


def _score(net: Net[T], x: T, config: NetworkConfig) -> T:
    function = config.classifier_activation
    return net.activation(x, function, name=f"head_{function.value}")

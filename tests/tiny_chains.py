"""A convolution, a depthwise layer and a 1×1 convolution, with channels that no input opens."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.network import Network

SIZE, CHANNELS, OUTPUTS, RELU6 = 12, 8, 5, 3
IMAGES = np.random.default_rng(1).uniform(-1, 1, (8, 1, SIZE, SIZE, 3)).astype(np.float32)

_FIELDS = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}


def build_chain(dead: tuple[int, ...] = (), *, extra: float = 0.0, seed: int = 0) -> Network:
    """Build the network with its ranges.

    Args:
        dead: Channels of the first layer that ReLU6 never lets through; their weights behind it
            are large.
        extra: Bias that dead channels have in the depthwise layer: they give it from there on.
        seed: Of the weights.
    """
    rng = np.random.default_rng(seed)
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, SIZE, SIZE, 3))
    filters, taps = rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)), rng.normal(0, 0.3, (1, 3, 3, CHANNELS))
    biases, offsets = rng.uniform(2, 3, CHANNELS), rng.uniform(1, 3, CHANNELS)
    biases[list(dead)], offsets[list(dead)] = -50, extra

    def layer(name: str, source: int, arrays: tuple[Any, Any], activation: int) -> int:
        weights, bias = (editor.add_tensor(f"c{id(a)}", data=np.float32(a)) for a in arrays)
        outputs = len(arrays[1])
        result = editor.add_tensor(f"{name}_{source}/out", shape=(1, SIZE, SIZE, outputs))
        fields = _FIELDS | {"fusedActivationFunction": activation}
        kind = "DepthwiseConv2DOptions" if name.startswith("D") else "Conv2DOptions"
        fields |= {"depthMultiplier": 1} if name.startswith("D") else {}
        editor.add_op(name, [source, weights, bias], [result], options=(kind, fields))
        return result

    first = layer("CONV_2D", image, (filters, biases), RELU6)
    second = layer("DEPTHWISE_CONV_2D", first, (taps, offsets), RELU6)
    mixed = (rng.normal(0, 0.5, (OUTPUTS, 1, 1, CHANNELS)), rng.normal(0, 0.5, OUTPUTS))
    third = layer("CONV_2D", second, mixed, 0)
    editor.set_inputs([image])
    editor.set_outputs([third])
    model = editor.to_bytes()
    graph = read_tflite(model)
    return Network(model=model, graph=graph, ranges=collect_ranges(model, graph, IMAGES))

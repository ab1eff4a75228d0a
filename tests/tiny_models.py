"""Small .tflite models for tests, built without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.flatbuffer_packing import load_schema
from edgevision.graph.flexbuffers import write_numbers
from edgevision.graph.tflite import locate_buffers, open_model
from edgevision.specs import Quantization

SAME, VALID = 0, 1
RELU6 = 3


def build_classifier(
    *,
    num_classes: int = 3,
    size: int = 8,
    channels: int = 3,
    softmax: bool = True,
    half: bool = False,
    input_quantization: Quantization | None = None,
    seed: int = 0,
) -> bytes:
    """Build conv 3x3/2, depthwise 3x3, mean, dense and softmax; batch 1, 4 filters.

    Args:
        num_classes: Width of the head.
        size: Height and width of the input.
        channels: Channels of the input.
        softmax: Whether the scores are probabilities.
        half: Whether the weights are float16 and go through DEQUANTIZE.
        input_quantization: Makes the input uint8, followed by a DEQUANTIZE.
        seed: Of the weights.
    """
    rng = np.random.default_rng(seed)
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, size, size, channels))
    inputs = image
    if input_quantization is not None:
        inputs = editor.add_tensor(
            "pixels",
            shape=(1, size, size, channels),
            dtype="uint8",
            quantization=input_quantization,
        )
        editor.add_op("DEQUANTIZE", [inputs], [image], version=2)

    def weight(name: str, shape: Sequence[int]) -> int:
        values = rng.normal(0, 0.5, shape).astype(np.float16 if half else np.float32)
        stored = editor.add_tensor(name, data=values)
        if not half:
            return stored
        result = editor.add_tensor(f"{name}/float", shape=shape)
        editor.add_op("DEQUANTIZE", [stored], [result], version=3)
        return result

    half_size = (size + 1) // 2
    activations = (1, half_size, half_size, 4)
    convolved = editor.add_tensor("convolved", shape=activations)
    editor.add_op(
        "CONV_2D",
        [image, weight("conv/kernel", (4, 3, 3, channels)), weight("conv/bias", (4,))],
        [convolved],
        options=(
            "Conv2DOptions",
            {"padding": SAME, "strideH": 2, "strideW": 2, "fusedActivationFunction": RELU6},
        ),
    )
    depthwise = editor.add_tensor("depthwise", shape=activations)
    editor.add_op(
        "DEPTHWISE_CONV_2D",
        [convolved, weight("depthwise/kernel", (1, 3, 3, 4)), weight("depthwise/bias", (4,))],
        [depthwise],
        options=(
            "DepthwiseConv2DOptions",
            {"padding": SAME, "strideH": 1, "strideW": 1, "depthMultiplier": 1},
        ),
    )
    pooled = editor.add_tensor("pooled", shape=(1, 4))
    axes = editor.add_tensor("axes", data=np.array([1, 2], np.int32))
    editor.add_op(
        "MEAN", [depthwise, axes], [pooled], options=("ReducerOptions", {"keepDims": False})
    )
    scores = editor.add_tensor("scores", shape=(1, num_classes))
    editor.add_op(
        "FULLY_CONNECTED",
        [pooled, weight("dense/kernel", (num_classes, 4)), weight("dense/bias", (num_classes,))],
        [scores],
        options=("FullyConnectedOptions", {}),
    )
    if softmax:
        logits, scores = scores, editor.add_tensor("probabilities", shape=(1, num_classes))
        editor.add_op("SOFTMAX", [logits], [scores], options=("SoftmaxOptions", {"beta": 1.0}))
    editor.set_inputs([inputs])
    editor.set_outputs([scores])
    editor.set_signature("serving_default", inputs={"image": inputs}, outputs={"scores": scores})
    return editor.to_bytes()


def build_detector(*, num_boxes: int = 10) -> bytes:
    """Build a custom TFLite_Detection_PostProcess whose four outputs are in reversed order."""
    editor = ModelEditor(create_empty_model())
    boxes = editor.add_tensor("raw_boxes", shape=(1, num_boxes, 4))
    scores = editor.add_tensor("raw_scores", shape=(1, num_boxes, 3))
    anchors = editor.add_tensor("anchors", data=np.ones((num_boxes, 4), np.float32))
    outputs = [editor.add_tensor(name) for name in ("boxes", "classes", "scores", "count")]
    editor.add_op(
        "CUSTOM:TFLite_Detection_PostProcess",
        [boxes, scores, anchors],
        outputs,
        custom_options=write_numbers(
            {
                "max_detections": 3,
                "max_classes_per_detection": 1,
                "nms_score_threshold": 0.0,
                "nms_iou_threshold": 0.5,
                "num_classes": 2,
                "y_scale": 10.0,
                "x_scale": 10.0,
                "h_scale": 5.0,
                "w_scale": 5.0,
            }
        ),
    )
    editor.set_inputs([boxes, scores])
    editor.set_outputs(outputs[::-1])
    return editor.to_bytes()


def build_segmenter(*, num_classes: int = 4, size: int = 6, varied: bool = False) -> bytes:
    """Build a 1x1 convolution that answers one score per pixel and class.

    Args:
        num_classes: Scores of each pixel.
        size: Height and width.
        varied: Whether the classes differ: weights are random, otherwise all ones.
    """
    weights = np.ones((num_classes, 1, 1, 3), np.float32)
    if varied:
        weights = np.random.default_rng(0).normal(size=weights.shape).astype(np.float32)
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, size, size, 3))
    kernel = editor.add_tensor("kernel", data=weights)
    bias = editor.add_tensor("bias", data=np.zeros(num_classes, np.float32))
    scores = editor.add_tensor("scores", shape=(1, size, size, num_classes))
    editor.add_op(
        "CONV_2D",
        [image, kernel, bias],
        [scores],
        options=("Conv2DOptions", {"padding": VALID, "strideH": 1, "strideW": 1}),
    )
    editor.set_inputs([image])
    editor.set_outputs([scores])
    return editor.to_bytes()


def move_constants_behind(model: bytes) -> bytes:
    """Write the constants of a model behind its flatbuffer, as ai-edge-quantizer does."""
    import flatbuffers

    schema = load_schema()
    spans = locate_buffers(open_model(model))
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))

    def pack(start: int) -> tuple[bytes, bytes]:
        tail = bytearray()
        for buffer, (position, num_bytes) in zip(unpacked.buffers, spans, strict=True):
            if not num_bytes:
                continue
            tail.extend(bytes(-(start + len(tail)) % 16))
            buffer.data, buffer.offset, buffer.size = None, start + len(tail), num_bytes
            tail.extend(model[position : position + num_bytes])
        builder = flatbuffers.Builder(1024)
        builder.Finish(unpacked.Pack(builder), b"TFL3")
        return bytes(builder.Output()), bytes(tail)

    # The first round only tells how long the flatbuffer is.
    length = len(pack(1 << 20)[0])
    head, tail = pack(length)
    return head + tail


def run_model(model: bytes, *, seed: int = 1) -> list[np.ndarray[Any, Any]]:
    """Run a model in LiteRT on seeded random inputs and return its outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        values = rng.uniform(0, 1, detail["shape"])
        if detail["dtype"] is not np.float32:
            values = np.floor(values * 256)
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

from __future__ import annotations

import numpy as np
from tiny_rewrites import SHAPE, Sketch, list_names, measure_difference

from edgevision.quantization.rewrites.no_ops import remove_no_ops


def test_what_changes_nothing_goes() -> None:
    sketch = Sketch()
    editor = sketch.editor
    shape = editor.add_tensor("shape", data=np.array(SHAPE, np.int32))
    margins = editor.add_tensor("margins", data=np.zeros((4, 2), np.int32))
    order = editor.add_tensor("order", data=np.arange(4, dtype=np.int32))
    bounded = sketch.op("RELU", [sketch.conv(sketch.image, activation=3)])
    same = sketch.op("RESHAPE", [bounded, shape], ("ReshapeOptions", {"newShape": list(SHAPE)}))
    padded = sketch.op("PAD", [same, margins], ("PadOptions", {}))
    turned = sketch.op("TRANSPOSE", [padded, order], ("TransposeOptions", {}))
    added = sketch.op("ADD", [turned, sketch.constant([0.0])], ("AddOptions", {}))
    network = sketch.close(sketch.conv(added))
    rewritten, changed = remove_no_ops(network)
    assert changed == 5
    assert list_names(rewritten) == ["CONV_2D", "CONV_2D"]
    assert measure_difference(network, rewritten) == 0


def test_what_changes_something_and_outputs_stay() -> None:
    sketch = Sketch()
    order = sketch.editor.add_tensor("order", data=np.array([0, 2, 1, 3], np.int32))
    turned = sketch.op("TRANSPOSE", [sketch.image, order], ("TransposeOptions", {}))
    bounded = sketch.op("RELU6", [sketch.conv(turned, activation=1)])
    added = sketch.op("ADD", [bounded, sketch.constant([0.0])], ("AddOptions", {}))
    network = sketch.close(added)
    assert remove_no_ops(network) == (network, 0)

"""From a frozen Keras model to the bytes of a ``.tflite``, float32 or float16."""

from __future__ import annotations

import tempfile
from typing import Any

from edgevision.backends import import_backend
from edgevision.converters.frozen import FrozenModel, translate_errors
from edgevision.specs import Precision

SIGNATURE = "serving_default"


def convert_to_tflite(model: FrozenModel, *, precision: Precision = Precision.FLOAT32) -> bytes:
    """Write a ``.tflite`` with the one signature ``serving_default``.

    Only TensorFlow Lite's own operations are used; TensorFlow kernels are never switched on. The
    same model gives the same bytes.

    Args:
        model: What to convert.
        precision: ``float16`` stores weights in half precision behind ``DEQUANTIZE``; inputs,
            outputs and arithmetic stay float32.

    Raises:
        UnsupportedOpError: TensorFlow Lite has no such operation; the error names it.
        InvalidModelError: The converter refused the model.
    """
    tf = import_backend("tensorflow")
    with (
        translate_errors("TensorFlow Lite can not convert the model"),
        tempfile.TemporaryDirectory(prefix="edgevision-") as folder,
    ):
        tf.saved_model.save(tf.Module(), folder, signatures={SIGNATURE: _make_server(tf, model)})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        if precision is Precision.FLOAT16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())


def _make_server(tf: Any, model: FrozenModel) -> Any:
    """Wrap the frozen function so that inputs and outputs have names."""
    names = [spec.name for spec in model.outputs]

    def serve(**inputs: Any) -> dict[str, Any]:
        results = model.function(*(inputs[spec.name] for spec in model.inputs))
        return dict(zip(names, tf.nest.flatten(results), strict=True))

    signature = {s.name: tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in model.inputs}
    return tf.function(serve, autograph=False).get_concrete_function(**signature)

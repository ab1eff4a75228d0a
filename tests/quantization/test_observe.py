from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.observe import list_activations, open_observers


def test_every_activation_is_shown_once_for_each_image() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    watched = list_activations(graph)
    shown: list[int] = []
    values = {}

    def visit(index: int, seen: np.ndarray) -> None:
        shown.append(index)
        values[index] = seen.copy()

    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, 8, 8, 3)).astype(np.float32)
    (observer,) = open_observers(model, graph, watched, batch=images[0], visits=[visit])
    assert shown == []  # the comparison of kernels shows nothing
    for image in images:
        observer.observe(image)
    assert shown == watched * 2
    assert np.array_equal(values[graph.inputs[0]], images[1])
    assert np.isclose(values[graph.outputs[0]].sum(), 1)


def test_constants_are_no_activations() -> None:
    graph = read_tflite(build_classifier(half=True))
    names = {graph.tensors[t].name for t in list_activations(graph)}
    assert {"image", "convolved", "probabilities"} <= names
    assert not any("float" in name for name in names)

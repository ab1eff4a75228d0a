from __future__ import annotations

import numpy as np
import pytest

from edgevision.models.config import NetworkConfig
from edgevision.models.graph_net import GraphNet
from edgevision.models.net import Activation
from edgevision.models.predictions import count_scores, join_predictions


def make_config(function: Activation) -> NetworkConfig:
    return NetworkConfig(
        alpha=1.0, input_size=(32, 32), num_classes=2, classifier_activation=function
    )


def test_anchors_of_all_maps_stand_in_a_row() -> None:
    net = GraphNet()
    boxes = [net.input((3, 2, 2 * 4), name="b0"), net.input((1, 1, 4), name="b1")]
    scores = [net.input((3, 2, 2 * 3), name="s0"), net.input((1, 1, 3), name="s1")]
    outputs = join_predictions(net, boxes, scores, make_config(Activation.LINEAR))
    assert {name: net.shape_of(x) for name, x in outputs.items()} == {
        "box_encodings": (3 * 2 * 2 + 1, 4),
        "class_scores": (3 * 2 * 2 + 1, 3),
    }
    assert count_scores(make_config(Activation.LINEAR)) == 3


@pytest.mark.parametrize("function", [Activation.SIGMOID, Activation.SOFTMAX, Activation.LINEAR])
def test_rows_are_cells_and_then_the_boxes_of_a_cell(function: Activation) -> None:
    pytest.importorskip("tensorflow")
    from edgevision.models.keras_net import KerasNet

    net = KerasNet()
    box, score = net.input((2, 2, 2 * 4), name="b"), net.input((2, 2, 2 * 3), name="s")
    outputs = join_predictions(net, [box], [score], make_config(function))
    model = net.build_model("joined", outputs)
    values = np.arange(2 * 2 * 2 * 4, dtype=np.float32).reshape(1, 2, 2, 8)
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 6)).astype(np.float32)
    found = model([values, logits])
    np.testing.assert_array_equal(found["box_encodings"][0], np.arange(32).reshape(8, 4))
    rows = logits.reshape(8, 3)
    expected = {
        Activation.LINEAR: rows,
        Activation.SIGMOID: 1 / (1 + np.exp(-rows)),
        Activation.SOFTMAX: np.exp(rows) / np.exp(rows).sum(1, keepdims=True),
    }
    np.testing.assert_allclose(found["class_scores"][0], expected[function], rtol=1e-5)


def test_scores_are_activated_map_by_map() -> None:
    """Joined after their sigmoid, all maps share the fixed scale of an int8 sigmoid."""
    net = GraphNet()
    maps = [net.input((2, 2, 12), name="a"), net.input((1, 1, 12), name="b")]
    graph = net.build_graph(
        "joined", join_predictions(net, maps, maps, make_config(Activation.SIGMOID))
    )
    assert [op.label for op in graph.ops][-2:] == ["head_box_encodings", "head_class_scores"]
    assert [op.label for op in graph.ops if op.label.endswith("sigmoid")] == [
        "head_scores_0_sigmoid",
        "head_scores_1_sigmoid",
    ]

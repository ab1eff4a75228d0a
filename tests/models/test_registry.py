from __future__ import annotations

from typing import Any

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.graph.macs import count_macs
from edgevision.graph.params import count_params
from edgevision.models.registry import (
    FEATURE_STRIDES,
    SPECS,
    build_feature_graph,
    build_graph,
    default_contract,
    get_spec,
)
from edgevision.specs import ResizeRule, ScoreKind, Task

NAMES = tuple(SPECS)
CLASSIFIERS = tuple(name for name, spec in SPECS.items() if spec.task is Task.CLASSIFY)


def expected_outputs(name: str, size: tuple[int, int], num_classes: int) -> list[tuple[int, ...]]:
    """Return the shapes that the task promises; a detector's anchors are those of its contract."""
    task = SPECS[name].task
    if task is Task.CLASSIFY:
        return [(1, num_classes)]
    if task is Task.SEGMENT:
        return [(1, *size, num_classes)]
    detection = default_contract(name, input_size=size).detection
    assert detection is not None
    return [(1, detection.num_anchors, 4), (1, detection.num_anchors, num_classes + 1)]


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(InvalidConfigError, match=r"did you mean mobilenet_v2.*mobilenet_v1"):
        get_spec("mobilnet_v2")
    with pytest.raises(InvalidConfigError, match="known names are mobilenet_v1"):
        build_graph("no_such_net")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "choices",
    [
        {"input_size": 7},
        {"num_classes": 0},
        {"alpha": -1},
        {"channels": 0},
        {"output_stride": 4},
        {"pooling": "sum"},
        {"classifier_activation": "relu"},
        {"upsampling": "magic"},
    ],
)
def test_bad_choices_are_refused(name: str, choices: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError, match=next(iter(choices))):
        build_graph(name, **choices)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 128), (225, 255)])
@pytest.mark.parametrize("alpha", [0.05, 0.37, 1.0, 1.75])
def test_any_alpha_and_size_builds(name: str, size: tuple[int, int], alpha: float) -> None:
    graph = build_graph(name, alpha=alpha, input_size=size, num_classes=3, channels=1)
    assert graph.input_specs()[0].shape == (1, *size, 1)
    assert [spec.shape for spec in graph.output_specs()] == expected_outputs(name, size, 3)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("ssd_mobilenet_v1", {"include_top": False}),
        ("ssd_mobilenet_v1", {"pooling": "avg"}),
        ("ssd_mobilenet_v1", {"output_stride": 16}),
        ("ssd_mobilenet_v1", {"dropout": 0.1}),
        ("ssd_mobilenet_v1", {"upsampling": "transposed"}),
        ("mobilenet_v1", {"upsampling": "bilinear"}),
    ],
)
def test_choices_that_a_task_would_ignore_are_refused(name: str, choices: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError, match=f"{next(iter(choices))} means nothing to"):
        build_graph(name, **choices)


def test_an_alpha_that_leaves_no_channels_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match=r"without channels \(alpha=0.01\)"):
        build_graph("mobilenet_v1", alpha=0.01)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("expanded", [False, True])
def test_features_lie_at_their_strides(name: str, expanded: bool) -> None:
    graph = build_feature_graph(name, alpha=0.5, input_size=(64, 96), expanded=expanded)
    shapes = [spec.shape[1:3] for spec in graph.output_specs()]
    assert shapes == [(64 // s, 96 // s) for s in FEATURE_STRIDES]


def test_expanded_features_are_wider() -> None:
    plain = build_feature_graph("mobilenet_v2", strides=(16,))
    wide = build_feature_graph("mobilenet_v2", strides=(16,), expanded=True)
    assert plain.output_specs()[0].shape == (1, 14, 14, 96)
    assert wide.output_specs()[0].shape == (1, 14, 14, 96 * 6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_output_stride_16_dilates_the_last_stage(name: str) -> None:
    choices: dict[str, Any] = {"input_size": 64, "include_top": False}
    plain = build_graph(name, **choices)
    dense = build_graph(name, **choices, output_stride=16)
    assert plain.output_specs()[0].shape[1:3] == (2, 2)
    assert dense.output_specs()[0].shape[1:3] == (4, 4)
    assert count_params(plain).total == count_params(dense).total
    dilated = [op.label for op in dense.ops if op.attributes.get("dilations") == (2, 2)]
    assert dilated
    assert all("depthwise" in label for label in dilated)
    with pytest.raises(InvalidConfigError, match="stride=32"):
        build_feature_graph(name, output_stride=16)


def test_without_the_classifier_features_come_out() -> None:
    choices: dict[str, Any] = {"alpha": 0.5, "input_size": 64, "include_top": False}
    assert build_graph("mobilenet_v1", **choices).output_specs()[0].shape == (1, 2, 2, 512)
    pooled = build_graph("mobilenet_v1", **choices, pooling="max")
    assert pooled.output_specs()[0].shape == (1, 512)


# Layers that other parts find by name: training, exporters, weights of other files.
STABLE_NAMES = {
    Task.CLASSIFY: {"stem", "head_pool", "head_logits", "head_softmax"},
    Task.DETECT: {"stem", "head_box_encodings", "head_class_scores"},
    Task.SEGMENT: {"head_logits"},
}


@pytest.mark.parametrize("name", NAMES)
def test_layer_names_are_unique_and_stable(name: str) -> None:
    graph = build_graph(name, input_size=64)
    kernels: dict[str, set[int]] = {}
    for op in graph.ops:
        constants = [i for i in op.inputs if graph.tensors[i].constant]
        # A label comes twice only where the same kernels meet several maps.
        assert op.label not in kernels or kernels[op.label] == set(constants) != set()
        kernels[op.label] = set(constants)
    assert STABLE_NAMES[SPECS[name].task] <= set(kernels)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in CLASSIFIERS])
def test_a_detector_or_segmenter_contains_a_whole_backbone_and_heads(name: str) -> None:
    labels = [op.label for op in build_graph(name, input_size=64).ops]
    features = build_feature_labels(name)
    assert [label for label in labels if not label.startswith("head_")] == features
    assert len(labels) > len(features)


def build_feature_labels(name: str) -> list[str]:
    graph = build_feature_graph(name, input_size=64, strides=(16,))
    return [op.label for op in graph.ops]


# MLPerf Tiny's visual wake words network: github.com/mlcommons/tiny, v1.0 results.
def test_mlperf_tiny_person_detection() -> None:
    graph = build_graph("mobilenet_v1", alpha=0.25, input_size=96, num_classes=2)
    assert count_macs(graph).total == 7_489_664
    assert count_params(graph).total == 219_058


def test_the_contract_says_how_images_are_prepared() -> None:
    contract = default_contract("mobilenet_v3_small", labels=("cat", "dog"))
    assert contract.task is Task.CLASSIFY
    assert contract.labels == ("cat", "dog")
    assert contract.preprocessing.mean == contract.preprocessing.std == (127.5,)
    assert contract.preprocessing.resize is ResizeRule.STRETCH
    assert contract.scores is ScoreKind.PROBABILITIES
    logits = default_contract("mobilenet_v3_small", classifier_activation=None)
    assert logits.scores is ScoreKind.LOGITS


@pytest.mark.parametrize(
    ("name", "scores"),
    [("ssd_mobilenet_v1", ScoreKind.PROBABILITIES), ("mobilenet_v1", ScoreKind.PROBABILITIES)],
)
def test_the_contract_says_what_scores_are(name: str, scores: ScoreKind) -> None:
    assert default_contract(name).scores is scores
    assert default_contract(name, classifier_activation=None).scores is ScoreKind.LOGITS


def test_the_contract_of_a_detector_holds_the_anchors_of_its_size() -> None:
    contract = default_contract("ssd_mobilenet_v1", labels=("cat", "dog"), input_size=(64, 96))
    assert contract.detection is not None
    assert [grid.size for grid in contract.detection.anchors][:2] == [(4, 6), (2, 3)]
    assert contract.detection.background
    assert contract.detection.box_scales == (10, 10, 5, 5)
    assert default_contract("mobilenet_v1").detection is None

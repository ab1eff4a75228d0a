from __future__ import annotations

import numpy as np
import pytest
from tiny_models import build_classifier, build_segmenter, run_model

from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.argmax import append_argmax, detach_argmax, find_argmax
from edgevision.graph.detection_heads import name_outputs
from edgevision.graph.tflite import read_tflite


def test_the_class_map_is_the_best_score_of_each_pixel() -> None:
    scores = build_segmenter(varied=True)
    model = append_argmax(scores)

    graph = read_tflite(model)
    assert name_outputs(graph) == ["class_map"]
    assert [(s.shape, s.dtype) for s in graph.output_specs()] == [((1, 6, 6), "int32")]
    np.testing.assert_array_equal(run_model(model)[0], run_model(scores)[0].argmax(-1))


def test_the_scores_come_back() -> None:
    scores = build_segmenter(varied=True)

    restored = detach_argmax(append_argmax(scores))

    assert name_outputs(read_tflite(restored)) == ["score_map"]
    np.testing.assert_array_equal(run_model(restored)[0], run_model(scores)[0])
    assert find_argmax(read_tflite(restored)) is None


def test_other_outputs_have_no_class_map() -> None:
    with pytest.raises(InvalidConfigError, match="a class map"):
        append_argmax(build_classifier())
    with pytest.raises(InvalidModelError, match="does not end in ARG_MAX"):
        detach_argmax(build_segmenter())

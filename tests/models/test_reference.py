"""Every family against ``keras.applications``: the same weights give the same outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.models.registry import create_model

sys.path.append(str(Path(__file__).parent))
from networks import draw_images, randomize

keras = pytest.importorskip("keras")
applications = keras.applications

CLASSES = 6


def _v1(shape: tuple[int, ...], alpha: float) -> Any:
    return applications.MobileNet(
        shape, alpha=alpha, weights=None, classes=CLASSES, classifier_activation=None
    )


def _v2(shape: tuple[int, ...], alpha: float) -> Any:
    return applications.MobileNetV2(
        shape, alpha=alpha, weights=None, classes=CLASSES, classifier_activation=None
    )


def _v3(build: Callable[..., Any], minimalistic: bool) -> Callable[..., Any]:
    def build_reference(shape: tuple[int, ...], alpha: float) -> Any:
        return build(
            shape,
            alpha=alpha,
            minimalistic=minimalistic,
            weights=None,
            classes=CLASSES,
            classifier_activation=None,
            include_preprocessing=False,
        )

    return build_reference


REFERENCES = {
    "mobilenet_v1": _v1,
    "mobilenet_v2": _v2,
    "mobilenet_v3_small": _v3(applications.MobileNetV3Small, False),
    "mobilenet_v3_large": _v3(applications.MobileNetV3Large, False),
    "mobilenet_v3_small_minimalistic": _v3(applications.MobileNetV3Small, True),
    "mobilenet_v3_large_minimalistic": _v3(applications.MobileNetV3Large, True),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_same_weights_give_the_same_outputs(name: str) -> None:
    # An odd, rectangular size: each side takes its own path through the padding rules.
    size, alpha = (75, 64), 0.35
    reference = REFERENCES[name]((*size, 3), alpha)
    ours = create_model(
        name, alpha=alpha, input_size=size, num_classes=CLASSES, classifier_activation=None
    )
    randomize(reference)
    ours.set_weights(reference.get_weights())

    images = draw_images((2, *size, 3))
    expected = np.asarray(reference(images))
    assert np.ptp(expected) > 0.1
    # Up to the order of additions, which the two write differently in hard functions.
    np.testing.assert_allclose(ours(images), expected, atol=1e-5 * np.abs(expected).max())

    for mine, theirs in zip(_norms(ours), _norms(reference), strict=True):
        assert (mine.momentum, mine.epsilon) == (theirs.momentum, theirs.epsilon)


def _norms(model: Any) -> list[Any]:
    return [layer for layer in model.layers if "BatchNorm" in type(layer).__name__]

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.contract import Preprocessing
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import CalibrationError
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.images import CalibrationImages


def test_every_pass_counts_anew(photos: Path) -> None:
    graph = read_tflite(build_classifier(size=12))
    images = CalibrationImages(photos, Preprocessor(Preprocessing(), graph.input_specs()[0]))
    with pytest.raises(CalibrationError):
        _ = images.kept
    passes = [np.stack([batch.copy() for batch in images.iterate(graph, 1)]) for _ in range(2)]
    assert np.array_equal(passes[0], passes[1])
    assert np.array_equal(images.kept, passes[0])
    assert len(images.hashes) == images.num_used == 24

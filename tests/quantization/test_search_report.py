from __future__ import annotations

import pytest

from edgevision.errors import QualityGateError
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.search_report import check_target
from edgevision.quantization.target import Target


def test_an_only_file_is_checked() -> None:
    accuracy = Accuracy(float_value=0.75, quantized_value=0.7, samples=20)
    check_target(Target(max_drop=5, min_agreement=0.9), accuracy, 0.9)
    with pytest.raises(QualityGateError, match=r"drop 5\.00 points, 20 images; agreement 80\.0%"):
        check_target(Target(max_drop=1), accuracy, 0.8)
    with pytest.raises(QualityGateError, match="no figure could be measured"):
        check_target(Target(min_agreement=0.5), None, None)

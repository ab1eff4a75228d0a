from __future__ import annotations

import pytest

from edgevision.quantization.schemes import SCHEMES, create_recipe
from edgevision.specs import Scheme


def test_every_scheme_has_a_row() -> None:
    assert set(SCHEMES) == set(Scheme)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_recipes_load_in_the_engine(scheme: Scheme) -> None:
    from edgevision.quantization.engine import load_engine

    quantizer = load_engine()
    from tiny_models import build_classifier

    engine = quantizer.Quantizer(bytearray(build_classifier()), create_recipe(scheme))
    assert engine.need_calibration is SCHEMES[scheme].needs_ranges

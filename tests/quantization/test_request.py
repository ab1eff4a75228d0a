from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgevision.errors import CalibrationError, InvalidConfigError
from edgevision.quantization.pipeline import Options
from edgevision.quantization.request import Request
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.source import open_source
from edgevision.quantization.target import Target
from edgevision.specs import RangeMethod, Scheme


def make_request(model: Path, scheme: Scheme, *, options: dict[str, Any], **more: Any) -> Request:
    return Request(
        model=model,
        output=model.with_name("q.tflite"),
        options=Options(row=SCHEMES[scheme], **options),
        target=Target(),
        **more,
    )


def test_images_are_opened_where_they_are_named(float_file: Path, photos: Path) -> None:
    source = open_source(float_file, {})
    request = make_request(float_file, Scheme.DYNAMIC, options={}, calibration=photos, limit=5)
    images = request.open_images(source.contract, source.graph)
    assert images is not None
    assert images.num_used == 5


def test_images_are_missed_where_they_are_needed(float_file: Path) -> None:
    source = open_source(float_file, {})
    relaxed = make_request(float_file, Scheme.DYNAMIC, options={})
    assert relaxed.open_images(source.contract, source.graph) is None
    strict = make_request(float_file, Scheme.INT8, options={})
    with pytest.raises(CalibrationError, match=r"--calibration, or something else"):
        strict.open_images(source.contract, source.graph, otherwise=", or something else")


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({}, {"calibration": "photos"}, "not from both"),
        ({"ranges": RangeMethod.MSE}, {}, "is for images"),
    ],
)
def test_batch_normalization_takes_no_images(
    float_file: Path, options: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    source = open_source(float_file, {})
    options["batch_norm"] = Path("model.keras")
    request = make_request(float_file, Scheme.INT8, options=options, **more)
    with pytest.raises(InvalidConfigError, match=message):
        request.open_images(source.contract, source.graph)

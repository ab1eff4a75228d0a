from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.data.preprocess import Preprocessor
from edgevision.errors import CalibrationError, QualityGateError
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization import search
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.islands import Island, find_island
from edgevision.quantization.pipeline import (
    Options,
    Prepared,
    Quantized,
    build_model,
    prepare_model,
)
from edgevision.quantization.quantize import quantize
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.sensitivity import Sensitivity
from edgevision.quantization.source import open_source
from edgevision.quantization.target import Target
from edgevision.specs import Lift, Scheme

LIFT = Lift.INT16


@pytest.fixture
def black(tmp_path: Path) -> Path:
    """Ranges of black images hold nothing of a photo."""
    folder = tmp_path / "black"
    folder.mkdir()
    Image.new("RGB", (12, 12)).save(folder / "black.png")
    return folder


def label(model: Path, photos: Path, folder: Path) -> Path:
    """Label photos with what the float model answers."""
    from edgevision.runtime.load import load

    classifier = load(model)
    for file in sorted(photos.iterdir()):
        answer = folder / f"class{int(classifier.scores(file).argmax())}"
        answer.mkdir(parents=True, exist_ok=True)
        (answer / file.name).write_bytes(file.read_bytes())
    for index in range(4):
        (folder / f"class{index}").mkdir(exist_ok=True)
    return folder


def test_the_default_is_kept_where_it_holds(float_file: Path, photos: Path, tmp_path: Path) -> None:
    result = quantize(float_file, tmp_path / "q.tflite", calibration=photos, min_agreement=0.1)
    assert result.search is not None
    document = result.search.to_dict()
    assert document["reached"] is True
    assert [trial["lifted"] for trial in document["trials"]] == [[]]
    first = document["trials"][0]
    assert first["latency_ms"] > 0
    assert (first["latency_ratio"], first["lift"], first["float_ops"]) == (1.0, None, 0)
    low, high = document["agreement_interval"]
    assert low <= document["trials"][0]["agreement"] <= high


def prepare(float_file: Path, photos: Path, scheme: Scheme = Scheme.INT8) -> Prepared:
    source = open_source(float_file, {})
    preprocessor = Preprocessor(source.contract.preprocessing, source.graph.input_specs()[0])
    images = CalibrationImages(photos, preprocessor)
    return prepare_model(source, images, Options(row=SCHEMES[scheme]))


def note_count(tried: list[int]) -> Callable[..., Island]:
    """Stand in for ``find_island``: note how many activations a trial lifts."""

    def note(_graph: Graph, writers: Sequence[int], lift: Lift = Lift.FLOAT) -> Island:
        if lift is LIFT:  # the search asks for single activations too, to float
            tried.append(len(writers))
        return Island(lift=lift)

    return note


def answer_better(tried: list[int], *, enough: int) -> Callable[..., Quantized]:
    """Stand in for ``build_model``: answers agree the more, the more is lifted."""

    def build(ready: Prepared, _island: Island) -> Quantized:
        share = 1.0 - 0.02 * max(0, enough - tried[-1])
        return replace(build_model(ready), agreement=share)

    return build


def rank(count: int) -> list[Sensitivity]:
    return [Sensitivity(writers=(i % 3,), name=f"t{i}", error=1 / (i + 1)) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "enough", "expected"),
    [
        (16, 5, [0, 1, 2, 4, 8, 6, 5]),
        (10, 5, [0, 1, 2, 4, 5]),  # four were tried on the way up, and are not tried again
        (14, 6, [0, 1, 2, 4, 7, 5, 6]),
        (16, 1, [0, 1]),
    ],
)
def test_the_fewest_layers_are_lifted(
    float_file: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int,
    enough: int,
    expected: list[int],
) -> None:
    prepared = prepare(float_file, photos)
    monkeypatch.setattr(search, "measure_sensitivity", lambda *_args, **_more: rank(count))
    tried: list[int] = []
    monkeypatch.setattr(search, "find_island", note_count(tried))
    monkeypatch.setattr(search, "build_model", answer_better(tried, enough=enough))
    target = Target(min_agreement=1.0, lift=LIFT)
    found = search.search_target(prepared, target, lambda _: None)
    assert tried == expected
    assert found.report is not None
    chosen = found.report.trials[found.report.chosen]
    assert chosen.lifted == tuple(f"t{index}" for index in range(enough))
    assert chosen.lift is LIFT
    assert found.quantized.agreement == 1.0


def test_lifted_layers_stay_in_float_and_the_rest_is_repaired(
    float_file: Path, photos: Path
) -> None:
    prepared = prepare(float_file, photos)
    island = find_island(prepared.final.graph, [0])
    quantized = build_model(prepared, island)
    graph = read_tflite(quantized.model)
    names = [op.name for op in graph.ops]
    assert names[:4] == ["DEQUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "QUANTIZE"]
    kinds = [graph.tensors[op.inputs[0]].dtype for op in graph.ops if "CONV" in op.name]
    assert kinds == ["float32", "float32"]
    assert len(quantized.layers) == 3
    plain = build_model(prepared)
    assert quantized.sqnr_db is not None
    assert plain.sqnr_db is not None
    assert quantized.sqnr_db > plain.sqnr_db - 1


def disagree_until(lifted: int) -> Callable[..., Quantized]:
    """Stand in for ``build_model``: answers agree once so many operations are lifted."""

    def build(ready: Prepared, island: Island) -> Quantized:
        return replace(build_model(ready, island), agreement=float(len(island.ops) >= lifted))

    return build


def test_layers_are_lifted_to_16_bits(
    float_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "build_model", disagree_until(2))
    output = tmp_path / "q.tflite"
    result = quantize(
        float_file, output, calibration=photos, min_agreement=1.0, lift="int16", steps=[]
    )
    assert result.search is not None
    plain, lifted = result.search.to_dict()["trials"]
    assert plain["lift"] is None
    assert (lifted["lift"], lifted["int16_ops"], lifted["float_ops"]) == ("int16", 2, 0)
    assert lifted["latency_ratio"] > 0
    graph = read_tflite(output)
    wide = [op for op in graph.ops if graph.tensors[op.inputs[0]].dtype == "int16"]
    assert len([op for op in wide if op.name != "QUANTIZE"]) == 2
    assert "float32" not in {tensor.dtype for tensor in graph.tensors}
    assert load_scores(output, photos).shape == (4,)


def load_scores(model: Path, photos: Path) -> np.ndarray:
    from edgevision.runtime.load import load

    return load(model).scores(min(photos.iterdir()))


@pytest.mark.parametrize("lift", list(Lift))
def test_unsigned_outputs_stay_bytes(
    float_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lift: Lift
) -> None:
    # The output costs most, and has to stay in 8 bits all the same.
    last = len(read_tflite(float_file).ops) - 1
    ranked = [Sensitivity(writers=(i,), name=f"t{i}", error=i) for i in (last, last - 1, 0, 1)]
    monkeypatch.setattr(search, "measure_sensitivity", lambda *_args, **_more: ranked)
    monkeypatch.setattr(search, "build_model", disagree_until(2))
    output = tmp_path / "q.tflite"
    options = {"min_agreement": 1.0, "lift": lift, "steps": []}
    result = quantize(float_file, output, calibration=photos, unsigned=True, **options)
    assert result.search is not None
    assert result.search.trials[-1].lifted == ("t0",)
    assert read_tflite(output).output_specs()[0].dtype == "uint8"
    result = quantize(float_file, output, calibration=photos, **options)
    assert result.search is not None
    assert result.search.trials[-1].lifted[0] == f"t{last}"


def test_only_what_has_16_bit_kernels_is_lifted_to_them(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    ranked = [Sensitivity(writers=(i,), name=f"t{i}", error=1 / (i + 1)) for i in range(4)]
    monkeypatch.setattr(search, "measure_sensitivity", lambda *_args, **_more: ranked)
    monkeypatch.setattr(search, "list_16_bit_ops", lambda *_: frozenset((2, 3, 4)))
    monkeypatch.setattr(search, "build_model", disagree_until(2))
    target = Target(min_agreement=1.0, lift=Lift.INT16)
    found = search.search_target(prepared, target, lambda _: None)
    assert found.report is not None
    assert found.report.trials[-1].lifted == ("t2",)


def test_16_bit_activations_are_ranked_by_16_bits(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos, Scheme.INT16X8)
    asked: list[int] = []

    def measure(*_args: object, bits: int, **_more: object) -> list[Sensitivity]:
        asked.append(bits)
        return rank(4)

    monkeypatch.setattr(search, "measure_sensitivity", measure)
    monkeypatch.setattr(search, "build_model", disagree_until(99))
    with pytest.raises(QualityGateError, match=r"give more typical calibration images$"):
        search.search_target(prepared, Target(min_agreement=1.0), lambda _: None)
    assert asked == [16]


def test_a_refusal_names_another_lift_and_what_it_cost(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    monkeypatch.setattr(search, "build_model", disagree_until(99))
    target = Target(min_agreement=1.0, lift=Lift.INT16)
    with pytest.raises(QualityGateError, match="--lift float or --scheme int16x8") as caught:
        search.search_target(prepared, target, lambda _: None)
    assert "stopped after" not in str(caught.value)
    assert "no operation lifted" in str(caught.value)


def test_a_network_of_one_activation_is_not_lifted_as_a_whole(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    monkeypatch.setattr(search, "measure_sensitivity", lambda *_args, **_more: rank(1))
    monkeypatch.setattr(search, "build_model", disagree_until(1))
    with pytest.raises(QualityGateError, match="most is lost at t0"):
        search.search_target(prepared, Target(min_agreement=1.0), lambda _: None)


def test_answers_that_can_not_be_counted_end_the_search_at_once(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    built: list[Island] = []

    def build(ready: Prepared, island: Island) -> Quantized:
        built.append(island)
        return replace(build_model(ready, island), agreement=None)

    monkeypatch.setattr(search, "build_model", build)
    with pytest.raises(CalibrationError, match="can not be counted"):
        search.search_target(prepared, Target(min_agreement=0.9), lambda _: None)
    assert len(built) == 1


def test_a_spent_budget_ranks_nothing_and_names_the_noisiest_layers(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    monkeypatch.setattr(search, "build_model", disagree_until(99))
    target = Target(min_agreement=1.0, budget_s=1e-6)
    with pytest.raises(QualityGateError, match=r"stopped after 1e-06 s") as caught:
        search.search_target(prepared, target, lambda _: None)
    layers = [r for r in build_model(prepared).layers if r.sqnr_db is not None]
    worst = min(layers, key=lambda layer: layer.sqnr_db or 0)
    assert f"most is lost at {worst.name}" in str(caught.value)
    assert "a larger --budget" in str(caught.value)


def test_what_holds_when_the_budget_ends_is_written(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    monkeypatch.setattr(search, "measure_sensitivity", lambda *_args, **_more: rank(16))
    tried: list[int] = []
    monkeypatch.setattr(search, "find_island", note_count(tried))
    monkeypatch.setattr(search, "build_model", answer_better(tried, enough=5))
    monkeypatch.setattr(search._Session, "_is_late", lambda _self: tried[-1] >= 8)
    target = Target(min_agreement=1.0, budget_s=60, lift=LIFT)
    found = search.search_target(prepared, target, lambda _: None)
    assert tried == [0, 1, 2, 4, 8]
    assert found.quantized.agreement == 1.0


def test_an_interrupt_leaves_no_file(
    float_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_more: object) -> list[Sensitivity]:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "measure_sensitivity", interrupt)
    monkeypatch.setattr(search, "build_model", disagree_until(99))
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        quantize(float_file, folder / "q.tflite", calibration=photos, min_agreement=1.0)
    assert list(folder.iterdir()) == []


def test_what_can_not_be_reached_is_refused_with_the_layers_in_the_way(
    float_file: Path, photos: Path, black: Path, tmp_path: Path
) -> None:
    output = tmp_path / "q.tflite"
    with pytest.raises(QualityGateError, match="most is lost at") as caught:
        quantize(
            float_file,
            output,
            calibration=black,
            eval_data=label(float_file, photos, tmp_path / "data"),
            max_drop=0,
            min_agreement=1.0,
            budget_s=1e-3,
        )
    assert "stopped after 0.001 s" in str(caught.value)
    assert not output.exists()

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tiny_models import build_classifier

from edgevision.data.preprocess import Preprocessor
from edgevision.errors import QualityGateError
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization import search
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.pipeline import (
    Options,
    Prepared,
    Quantized,
    build_model,
    prepare_model,
)
from edgevision.quantization.quantize import quantize
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.search import find_island
from edgevision.quantization.sensitivity import Sensitivity
from edgevision.quantization.source import open_source
from edgevision.quantization.target import Target
from edgevision.specs import Scheme


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
    assert document["trials"][0]["latency_ms"] > 0
    low, high = document["agreement_interval"]
    assert low <= document["trials"][0]["agreement"] <= high


def prepare(float_file: Path, photos: Path) -> Prepared:
    source = open_source(float_file, {})
    preprocessor = Preprocessor(source.contract.preprocessing, source.graph.input_specs()[0])
    images = CalibrationImages(photos, preprocessor)
    return prepare_model(source, images, Options(row=SCHEMES[Scheme.INT8]))


def test_the_fewest_layers_go_back_to_float(
    float_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(float_file, photos)
    ranked = [Sensitivity(index=i % 3, name=f"t{i}", error=1 / (i + 1)) for i in range(16)]
    monkeypatch.setattr(search, "measure_sensitivity", lambda *_args, **_more: ranked)
    tried: list[int] = []

    def count(graph: Graph, activations: list[int]) -> list[int]:
        tried.append(len(activations))
        return []

    def build(ready: Prepared, _lifted: list[int]) -> Quantized:
        share = 0.9 + 0.02 * tried[-1]  # five are enough
        return replace(build_model(ready), agreement=min(share, 1.0))

    monkeypatch.setattr(search, "find_island", count)
    monkeypatch.setattr(search, "build_model", build)
    found = search.search_target(prepared, Target(min_agreement=1.0), lambda _: None)
    assert tried == [0, 1, 2, 4, 8, 6, 5]
    assert found.report is not None
    chosen = found.report.trials[found.report.chosen]
    assert chosen.lifted == ("t0", "t1", "t2", "t3", "t4")
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


def test_an_island_holds_who_writes_and_who_reads() -> None:
    graph = read_tflite(build_classifier())
    assert find_island(graph, [0]) == [0, 1]
    assert find_island(graph, [0, 2]) == [0, 1, 2, 3]
    assert find_island(graph, []) == []

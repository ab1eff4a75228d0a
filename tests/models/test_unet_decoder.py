from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevision.graph.reader import read_graph
from edgevision.models.graph_net import GraphNet
from edgevision.models.registry import create_model
from edgevision.models.unet_decoder import (
    enlarge_by_the_paper,
    enlarge_lightly,
    filter_fully,
    filter_separably,
    fit,
)
from edgevision.runtime.sessions import open_session
from edgevision.specs import Upsampling

sys.path.append(str(Path(__file__).parent))
from networks import randomize

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (64, 48)


def test_a_map_that_fits_is_not_resized() -> None:
    net = GraphNet()
    x = net.input((6, 4, 8), name="x")
    assert fit(net, x, (6, 4), name="a") is x
    assert fit(net, x, (7, 4), name="b").shape == (1, 7, 4, 8)


@pytest.mark.parametrize("enlarge", [enlarge_lightly, enlarge_by_the_paper])
@pytest.mark.parametrize("upsampling", list(Upsampling))
@pytest.mark.parametrize("size", [(6, 10), (7, 11)])
def test_enlarging_meets_even_and_odd_sizes(
    enlarge: Any, upsampling: Upsampling, size: tuple[int, int]
) -> None:
    net = GraphNet()
    x = net.input((3, 5, 16), name="x")
    y = enlarge(net, x, 8, size=size, upsampling=upsampling, name="up")
    assert y.shape == (1, *size, 8)
    names = [op.name for op in net.build_graph("up", y).ops]
    resized = upsampling is Upsampling.BILINEAR or size == (7, 11)
    assert ("Resizing" in names) == resized
    assert ("Conv2DTranspose" in names) == (upsampling is Upsampling.TRANSPOSED)


@pytest.mark.parametrize("block", [filter_fully, filter_separably])
def test_blocks_keep_the_size(block: Any) -> None:
    net = GraphNet()
    y = block(net, net.input((3, 5, 16), name="x"), 24, name="block")
    assert y.shape == (1, 3, 5, 24)


# What the Edge TPU takes of what a decoder may consist of, besides convolutions.
TPU_OPS = {
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "RESIZE_BILINEAR",
    "CONCATENATION",
    "QUANTIZE",
    "MAX_POOL_2D",
    "PAD",
    "ADD",
}


@pytest.mark.parametrize("upsampling", list(Upsampling))
@pytest.mark.parametrize("name", ["unet_mobilenet_v1", "unet"])
def test_int8_runs_in_one_piece(name: str, upsampling: Upsampling, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from edgevision.converters.convert import convert
    from edgevision.quantization.quantize import quantize

    model = create_model(name, alpha=0.1, input_size=SIZE, num_classes=2, upsampling=upsampling)
    randomize(model)
    model.save(tmp_path / "m.keras")
    convert(tmp_path / "m.keras", tmp_path / "m.tflite")
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "0.png")
    quantize(tmp_path / "m.tflite", tmp_path / "q.tflite", calibration=photos)

    session = open_session(tmp_path / "q.tflite")
    placement = session.placement()
    assert (placement.partitions, placement.delegated_ops) == (1, placement.total_ops)
    assert session.outputs[0].shape == (1, *SIZE, 2)
    session.close()
    check_rules_of_the_edge_tpu(tmp_path / "q.tflite", upsampling)


def check_rules_of_the_edge_tpu(path: Path, upsampling: Upsampling) -> None:
    graph = read_graph(path)
    extra = {"TRANSPOSE_CONV"} if upsampling is Upsampling.TRANSPOSED else set()
    assert {op.name for op in graph.ops} <= TPU_OPS | extra
    for op in graph.ops:
        if op.name in ("CONCATENATION", "MAX_POOL_2D"):
            assert op.attributes.get("activation") is None
        shape = graph.tensors[op.outputs[0]].shape
        assert len(shape) == 4
        assert shape[0] == 1

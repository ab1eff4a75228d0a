from __future__ import annotations

import pytest

from edgevision.graph.params import count_params
from edgevision.models.blocks import make_divisible, pad_for_stride, plan_steps, squeeze_excite
from edgevision.models.graph_net import GraphNet


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(3, 8), (11, 16), (12, 16), (20, 24), (17.9, 24), (24, 24), (1280 * 1.3, 1664)],
)
def test_channels_are_multiples_of_eight_and_never_fall_by_a_tenth(
    value: float, rounded: int
) -> None:
    assert make_divisible(value) == rounded
    assert make_divisible(value) >= 0.9 * value


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [7, 8, 33, 112])
def test_padding_for_a_stride_gives_the_size_of_same(kernel: int, side: int) -> None:
    (before, after), _ = pad_for_stride(side, side, kernel)
    assert (side + before + after - kernel) // 2 + 1 == -(-side // 2)
    assert after - before == (1 if side % 2 == 0 else 0)


def test_rows_beyond_the_output_stride_dilate_instead() -> None:
    steps = list(plan_steps([1, 2, 1, 2, 1, 2, 1], reached=4, output_stride=8))
    assert [s.stride for s in steps] == [1, 2, 1, 1, 1, 1, 1]
    assert [s.dilation for s in steps] == [1, 1, 1, 1, 2, 2, 4]
    assert [s.reached for s in steps] == [4, 8, 8, 8, 8, 8, 8]


def test_squeeze_excite_keeps_the_shape_and_has_two_small_layers() -> None:
    net = GraphNet()
    x = net.input((6, 4, 16), name="x")
    y = squeeze_excite(net, x, 8, name="se")
    assert y.shape == (1, 6, 4, 16)
    params = count_params(net.build_graph("se", y))
    assert params.total == params.trainable == (16 * 8 + 8) + (8 * 16 + 16)

from __future__ import annotations

import numpy as np
import pytest
from tiny_chains import IMAGES, build_chain

from edgevision.quantization import added_channels
from edgevision.quantization.added_channels import (
    LANES,
    add_channels,
    measure_noise,
    tell_growth,
    widen_chain,
)
from edgevision.quantization.answers import run_network
from edgevision.quantization.spare_channels import find_chains, use_spare_channels


def test_a_wider_chain_computes_the_same() -> None:
    network = build_chain()
    wide = widen_chain(network, next(find_chains(network.graph)), LANES)
    assert [op.name for op in wide.graph.ops] == [op.name for op in network.graph.ops]
    for op in wide.graph.ops[:2]:
        assert wide.graph.tensors[op.outputs[0]].shape[-1] == LANES
        assert wide.ranges[op.outputs[0]].high.shape == (LANES,)
    (after,), (before,) = run_network(wide.model, IMAGES), run_network(network.model, IMAGES)
    assert np.abs(after - before).max() < 1e-5


def test_added_channels_are_filled_and_noise_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added_channels, "_LARGEST_NOISE", 0.0)
    monkeypatch.setattr(added_channels, "_LARGEST_GROWTH", 2.0)
    network = build_chain()
    wide, added = add_channels(network, IMAGES)
    assert added == 3
    filled, _ = use_spare_channels(wide, IMAGES)
    assert np.all(filled.ranges[filled.graph.ops[1].outputs[0]].high > 0)
    before, after = (
        measure_noise(n, next(find_chains(n.graph)), IMAGES) for n in (network, filled)
    )
    assert after < before / 2


@pytest.mark.parametrize(("noise", "growth"), [(1.0, 2.0), (0.0, 0.01)])
def test_quiet_and_costly_chains_stay(
    noise: float, growth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(added_channels, "_LARGEST_NOISE", noise)
    monkeypatch.setattr(added_channels, "_LARGEST_GROWTH", growth)
    network = build_chain()
    assert add_channels(network, IMAGES) == (network, 0)


def test_the_price_is_told() -> None:
    network = build_chain()
    wide = widen_chain(network, next(find_chains(network.graph)), LANES)
    (line,) = tell_growth(network.graph, wide.graph)
    # 8 channels took 8 · (27 + 9 + 5) multiplications for each pixel, 16 take twice as many.
    assert "100% more multiplications" in line
    assert tell_growth(network.graph, network.graph) == []

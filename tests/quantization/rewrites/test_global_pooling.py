from __future__ import annotations

import pytest
from tiny_rewrites import SHAPE, Sketch, list_names, measure_difference

from edgevision.quantization.rewrites.global_pooling import replace_global_pooling

POOLED = (1, 1, 1, SHAPE[3])


def add_pool(sketch: Sketch, kernel: int, shape: tuple[int, ...], activation: int = 0) -> int:
    fields = {"padding": 1, "strideH": kernel, "strideW": kernel}
    fields |= {"filterHeight": kernel, "filterWidth": kernel}
    fields["fusedActivationFunction"] = activation
    source = sketch.conv(sketch.image, activation=1)
    return sketch.op("AVERAGE_POOL_2D", [source], ("Pool2DOptions", fields), shape)


def test_a_mean_of_the_whole_map_gets_a_scale_of_its_own() -> None:
    sketch = Sketch()
    network = sketch.close(add_pool(sketch, SHAPE[1], POOLED))
    rewritten, changed = replace_global_pooling(network)
    assert changed == 1
    assert list_names(rewritten) == ["CONV_2D", "MEAN"]
    assert measure_difference(network, rewritten) < 1e-6


@pytest.mark.parametrize(("kernel", "activation"), [(4, 0), (8, 3)])
def test_other_pools_stay(kernel: int, activation: int) -> None:
    sketch = Sketch()
    size = SHAPE[1] // kernel
    network = sketch.close(add_pool(sketch, kernel, (1, size, size, SHAPE[3]), activation))
    assert replace_global_pooling(network) == (network, 0)

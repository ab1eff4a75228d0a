from __future__ import annotations

from tiny_rewrites import IMAGES, Sketch

from edgevision.quantization.rewrites.equivalence import is_equivalent


def test_other_weights_are_found_out() -> None:
    one, other = (Sketch(seed) for seed in (0, 1))
    networks = [sketch.close(sketch.conv(sketch.image)) for sketch in (one, other)]
    assert is_equivalent(networks[0].model, networks[0].model, IMAGES)
    assert not is_equivalent(networks[0].model, networks[1].model, IMAGES)

from __future__ import annotations

from tiny_models import build_classifier
from tiny_networks import NetworkSketch, draw_weights

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.islands import Island, find_island, find_writers, writes_output
from edgevision.specs import Lift


def test_an_island_holds_who_writes_and_who_reads() -> None:
    graph = read_tflite(build_classifier())
    assert find_island(graph, [0]) == Island(ops=(0, 1))
    assert find_island(graph, [0, 2], Lift.INT16) == Island(ops=(0, 1, 2, 3), lift=Lift.INT16)
    assert find_island(graph, []).ops == ()


def test_what_is_joined_is_one_activation() -> None:
    sketch = NetworkSketch(size=4)
    one = sketch.conv(sketch.image, draw_weights(2, 1, 1, 3), name="one")  # 0
    two = sketch.conv(sketch.image, draw_weights(2, 1, 1, 3), name="two")  # 1
    both = sketch.concat([one, two], name="both")  # 2
    last = sketch.conv(both, draw_weights(2, 1, 1, 4), name="last")  # 3
    graph = read_tflite(sketch.finish(last))
    writers = find_writers(graph)
    assert writers == {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 1, 2), 3: (3,)}
    island = find_island(graph, writers[0])
    assert island.ops == (0, 1, 2, 3)
    assert writes_output(graph, island)
    assert not writes_output(graph, Island(ops=(0, 1, 2)))


def test_what_shares_the_scale_of_the_pixels_is_left_out() -> None:
    sketch = NetworkSketch(size=4)
    twice = sketch.concat([sketch.image, sketch.image], name="twice")
    last = sketch.conv(twice, draw_weights(2, 1, 1, 6), name="last")
    assert find_writers(read_tflite(sketch.finish(last))) == {1: (1,)}

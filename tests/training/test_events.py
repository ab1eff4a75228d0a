from __future__ import annotations

from edgevision.training.events import Meter, Phase, TrainingEvent


def test_an_epoch_begins_at_zero_and_ends_with_its_figures() -> None:
    events: list[TrainingEvent] = []
    meter = Meter(events.append, phase=Phase.FINE_TUNE, epoch=1, epochs=2, steps=3)
    for _ in range(3):
        meter.advance(8)
    meter.finish({"val_accuracy": 0.5})
    first, last = events[0], events[-1]
    assert (first.step, first.images_per_second, first.seconds_left) == (0, 0.0, None)
    assert last.epoch_done
    assert last.metrics == {"val_accuracy": 0.5}
    assert last.images_per_second > 0
    assert last.seconds_left is not None
    assert [e.epoch_done for e in events].count(True) == 1


def test_without_a_callback_it_still_measures() -> None:
    meter = Meter(None, phase=Phase.HEAD, epoch=1, epochs=1, steps=1)
    meter.advance(4)
    assert meter.images_per_second > 0

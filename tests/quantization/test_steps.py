from __future__ import annotations

from typing import Any

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.quantization import steps
from edgevision.quantization.steps import (
    APPLIES,
    FLOAT_STEPS,
    LAYER_STEPS,
    REWRITES,
    Step,
    choose_steps,
)
from edgevision.specs import Scheme


def test_every_step_has_one_place_and_a_scheme() -> None:
    places = [*REWRITES, *FLOAT_STEPS, *LAYER_STEPS]
    assert places == list(Step)
    assert set(APPLIES) == set(Step)
    assert all(APPLIES.values())


def test_defaults_are_all_that_fit() -> None:
    assert choose_steps(Scheme.INT8) == tuple(s for s in Step if Scheme.INT8 in APPLIES[s])
    assert choose_steps(Scheme.FLOAT16) == tuple(s for s in Step if Scheme.FLOAT16 in APPLIES[s])
    assert choose_steps(Scheme.INT8, []) == ()


def test_unknown_and_unfitting_steps_are_refused() -> None:
    with pytest.raises(InvalidConfigError, match="no such step"):
        choose_steps(Scheme.INT8, ["polish"])
    with pytest.raises(InvalidConfigError, match="does nothing"):
        choose_steps(Scheme.DYNAMIC, ["logit_clipping"])


def test_a_minus_leaves_steps_out() -> None:
    every = choose_steps(Scheme.INT8)
    without = choose_steps(Scheme.INT8, ["-rounding", "-no_ops"])
    assert set(every) - set(without) == {Step.ROUNDING, Step.NO_OPS}
    filled = choose_steps(Scheme.INT8, ["-spare_channels"])
    assert set(every) - set(filled) == {Step.SPARE_CHANNELS, Step.ADDED_CHANNELS}


def test_named_and_left_out_steps_do_not_mix_and_needs_are_told() -> None:
    with pytest.raises(InvalidConfigError, match="either named or left out"):
        choose_steps(Scheme.INT8, ["rounding", "-no_ops"])
    with pytest.raises(InvalidConfigError, match="no such step"):
        choose_steps(Scheme.INT8, ["-polish"])
    with pytest.raises(InvalidConfigError, match="without spare_channels"):
        choose_steps(Scheme.INT8, ["added_channels"])


def test_steps_are_applied_in_order_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[tuple[Any, str]]()

    def note(name: str) -> Any:
        return lambda layer: seen.append((layer, name)) or f"{layer}+{name}"

    monkeypatch.setattr(steps, "LAYER_STEPS", {step: note(step) for step in LAYER_STEPS})
    seconds = {Step.ROUNDING: 1.0, Step.BIAS_CORRECTION: 0.0}
    chosen = steps.choose_layer_steps([Step.BIAS_CORRECTION, Step.NO_OPS, Step.ROUNDING])
    layer: Any = "layer"
    made: Any = steps.apply_steps(layer, chosen, seconds)
    assert made == "layer+rounding+bias_correction"
    assert seen == [("layer", "rounding"), ("layer+rounding", "bias_correction")]
    assert seconds[Step.ROUNDING] > 1.0
    assert seconds[Step.BIAS_CORRECTION] > 0.0

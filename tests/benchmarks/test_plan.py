from __future__ import annotations

import pytest

import edgevision as ev
from edgevision.benchmarks.plan import plan
from edgevision.errors import InvalidConfigError
from edgevision.models.registry import SPECS
from edgevision.specs import Task


def test_every_network_of_the_task_is_looked_at() -> None:
    for task in Task:
        names = {c.name for c in plan(task=task, alphas=[0.5], input_sizes=[96]).candidates}
        assert names == {spec.name for spec in SPECS.values() if spec.task is task}


def test_candidates_hold_the_budget_and_agree_with_profile() -> None:
    result = plan(max_macs="50M", max_params="1M", max_bytes="1MB", max_ram="256KB")
    assert result.candidates
    assert result.nearest is None
    for candidate in result.candidates:
        row = candidate.to_dict()
        assert row["macs"] <= 50_000_000
        assert row["params"] <= 1_000_000
        assert row["bytes"] <= 1_000_000
        assert row["ram"] <= 256_000
        cost = ev.profile(row["name"], alpha=row["alpha"], input_size=tuple(row["input_size"]))
        assert (cost.macs, cost.params) == (row["macs"], row["params"])


def test_published_accuracies_lead_in_falling_order() -> None:
    rows = [c.to_dict() for c in plan(max_macs="100M").candidates]
    known = [r["accuracy"] for r in rows if r["accuracy"] is not None]
    assert known == sorted(known, reverse=True)
    assert [r["accuracy"] for r in rows[: len(known)]] == known
    unknown = [r["macs"] for r in rows[len(known) :]]
    assert unknown == sorted(unknown, reverse=True)
    assert all(r["source"] for r in rows[: len(known)])


def test_the_nearest_is_named_where_nothing_fits() -> None:
    result = plan(max_ram="40KB", max_macs="1M")
    assert result.candidates == ()
    assert result.nearest is not None
    worst = max(miss.ratio for miss in result.misses)
    for name in ("mobilenet_v1", "mobilenet_v4_conv_small"):
        others = plan(names=[name], alphas=[0.25], input_sizes=[96]).candidates
        assert worst <= max(m.ratio for m in others[0].find_misses(result.budget))


def test_int8_friendly_leaves_out_hard_swish() -> None:
    names = {c.name for c in plan(int8_friendly=True).candidates}
    assert "mobilenet_v3_small" not in names
    assert "mobilenet_v3_small_minimalistic" in names


def test_fewer_classes_need_less() -> None:
    choices = {"names": ["mobilenet_v1"], "alphas": [0.25], "input_sizes": [96]}
    (large,) = plan(**choices).candidates
    (small,) = plan(**choices, num_classes=2).candidates
    # 256 features; the weights and the bias of 998 classes.
    assert large.params - small.params == 998 * (256 + 1)
    assert small.macs == 7_489_664


def test_input_sizes_need_not_be_square() -> None:
    (row,) = plan(names=["mobilenet_v1"], alphas=[1], input_sizes=[(96, 128)]).candidates
    assert row.input_size == (96, 128)
    assert row.published is None


def test_networks_that_can_not_be_are_told() -> None:
    result = plan(alphas=[0.01, 0.25], input_sizes=[96], names=["mobilenet_v1"])
    assert [c.alpha for c in result.candidates] == [0.25]
    assert "mobilenet_v1 0.01 at 96x96: alpha leaves a layer" in result.notes[0]


@pytest.mark.parametrize(
    "choices",
    [
        {"max_macs": "much"},
        {"max_ram": 0},
        {"task": "drive"},
        {"names": ["nope"]},
        {"names": ["ssd_mobilenet_v1"]},
        {"alphas": [0.0]},
        {"input_sizes": [8]},
        {"num_classes": 0},
    ],
)
def test_bad_choices_are_refused(choices: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigError):
        plan(**choices)

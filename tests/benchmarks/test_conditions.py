from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from edgevision.benchmarks import conditions
from edgevision.benchmarks.conditions import Watch, find_disturbances, read_state


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"others_percent": 40.0}, "other programs used 40 %"),
        ({"steal_percent": 12.0}, "other virtual machines took 12 %"),
        ({"before": {"load": 1e6}}, "keep the processor busy"),
        ({"before": {"governor": "powersave"}}, "powersave"),
        ({"after": {"frequency_mhz": 600, "max_frequency_mhz": 1800}}, "600 of 1800 MHz"),
        ({"after": {"temperature_c": 85.0}}, "hot (85 °C)"),
        ({"after": {"throttling": ["the clock is capped"]}}, "the clock is capped: "),
    ],
)
def test_what_spoils_a_measurement_is_told(found: dict[str, Any], text: str) -> None:
    (told,) = find_disturbances(found)
    assert text in told


def test_a_quiet_machine_is_no_news() -> None:
    state = {"governor": "performance", "frequency_mhz": 1800, "max_frequency_mhz": 1800}
    quiet = {"others_percent": 1.0, "steal_percent": 0.0, "before": state, "after": state}
    assert find_disturbances(quiet) == ()
    assert find_disturbances({}) == ()


def test_own_work_is_no_disturbance() -> None:
    if not conditions._read_ticks():
        pytest.skip("this system does not tell its processor's time")
    watch = Watch([])
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass
    found = watch.finish()
    used = 100 * 0.3 / found["seconds"] / (os.cpu_count() or 1)
    assert 0 <= found["others_percent"] <= max(0, 101 - used)


def test_flags_of_a_raspberry_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = tmp_path / "get_throttled"
    flags.write_text("50005\n")  # now: bits 0 and 2; since the start: bits 16 and 18
    monkeypatch.setattr(conditions, "_THROTTLED", flags)
    assert read_state()["throttling"] == [
        "the supply voltage is too low",
        "the processor is throttled",
    ]


def test_clock_is_the_mean_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, clock in enumerate(("600000", "1800000")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(clock)
        (folder / "cpuinfo_max_freq").write_text("1800000")
    (tmp_path / "cpu0/cpufreq/scaling_governor").write_text("ondemand\n")
    monkeypatch.setattr(conditions, "_CPU", tmp_path)
    state = read_state()
    assert (state["frequency_mhz"], state["max_frequency_mhz"]) == (1200, 1800)
    assert state["governor"] == "ondemand"


def test_an_unknown_system_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CPU", "_STAT", "_TEMPERATURE", "_THROTTLED"):
        monkeypatch.setattr(conditions, name, tmp_path / "none")
    assert set(read_state()) <= {"load"}
    assert "others_percent" not in Watch([]).finish()

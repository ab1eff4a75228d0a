from __future__ import annotations

from crashing import crash

from edgevision.runtime import gpu_adapter
from edgevision.runtime.gpu_adapter import find_gpu_parts


def test_without_a_driver_there_is_a_reason_and_a_remedy(no_gpu):
    found = find_gpu_parts()
    assert found.adapter is None
    assert found.trouble
    assert found.remedy


def test_a_crashing_driver_does_not_end_the_caller(monkeypatch):
    monkeypatch.setattr(gpu_adapter, "_find_parts", crash)
    found = find_gpu_parts()
    assert "SIGSEGV" in found.trouble
    assert found.remedy == "update the driver"

from __future__ import annotations

from edgevision.benchmarks import macs
from edgevision.graph import macs as core_macs
from edgevision.graph import params as core_params


def test_there_is_one_implementation():
    assert macs.count_macs is core_macs.count_macs
    assert macs.count_params is core_params.count_params

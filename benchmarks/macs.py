"""Multiply-accumulates and parameters of a ``Graph``: the counting that profiles are made of.

The counting itself is part of the core, so that the models can use it too; it is documented in
``edgevision.graph.macs`` and ``edgevision.graph.params``.
"""

from __future__ import annotations

from edgevision.graph.macs import COUNTERS, MacCount, count_macs
from edgevision.graph.params import ParamCount, count_params

__all__ = ["COUNTERS", "MacCount", "ParamCount", "count_macs", "count_params"]

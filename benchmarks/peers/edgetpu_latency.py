"""The Edge TPU's estimated latency beside published measurements, network by network.

Run it with ``python benchmarks/peers/edgetpu_latency.py``; it needs neither a device nor
TensorFlow. For every network the coefficients, the size of the cache among them, are fitted to the
others only (leave-one-out), so that its own measurement plays no part in its estimate. The plain
roofline (4 TOPS, 8 MB of memory, 320 MB/s over the bus) stands beside it. The last lines are what
``benchmarks/placement/edgetpu_latency.py`` holds: the fit to all networks.
"""

from __future__ import annotations

import argparse
from dataclasses import astuple

import numpy as np
from published_networks import PUBLISHED

from edgevision.benchmarks.macs import count_macs, count_params
from edgevision.benchmarks.placement.edgetpu_latency import measure_load
from edgevision.graph.graph import Graph

CACHES_MB = (5.0, 5.5, 6.0, 6.5, 7.0, 7.5)
STEPS = 400
SMALLEST_ERROR = 0.05

Array = np.ndarray


def fit(loads: Array, times: Array) -> Array:
    """Return coefficients that are not negative, for the least mean error of the logarithm.

    Multiplicative updates keep them positive; weighting by the inverse error turns squares into
    absolute values, so that one odd measurement does not bend the fit.
    """
    found = np.full(loads.shape[1], 0.5)
    for _ in range(STEPS):
        error = np.log(times / (loads @ found + 1e-9))
        weight = 1 / ((loads @ found + 1e-9) * np.maximum(np.abs(error), SMALLEST_ERROR))
        step = (loads.T @ (weight * error)) / (loads.T @ weight + 1e-12)
        found = np.maximum(found * np.exp(0.5 * step), 1e-9)
    return found


class Table:
    """Loads of all networks, for each size of the cache."""

    def __init__(self, graphs: list[Graph], times: list[float]) -> None:
        measured = {c: [measure_load(g, cache_mb=c) for g in graphs] for c in CACHES_MB}
        self.loads = {c: np.array([astuple(load) for load, _ in m]) for c, m in measured.items()}
        self.host = np.array([host for _, host in measured[CACHES_MB[0]]])
        self.times = np.array(times)

    def fit(self, rows: Array) -> tuple[float, Array]:
        """Fit coefficients and cache to some of the networks."""
        fits = []
        for cache_mb, loads in self.loads.items():
            found = fit(loads[rows], np.maximum(self.times - self.host, 0.1)[rows])
            estimates = loads[rows] @ found + self.host[rows]
            error = float(np.abs(np.log(estimates / self.times[rows])).mean())
            fits.append((error, cache_mb, found))
        _, cache_mb, found = min(fits, key=lambda fitted: fitted[0])
        return cache_mb, found

    def estimate(self, row: int, cache_mb: float, found: Array) -> float:
        """Estimate one network, in milliseconds."""
        return float(self.loads[cache_mb][row] @ found + self.host[row])


def estimate_roofline(graph: Graph) -> float:
    """Return the larger of compute and streaming time, in milliseconds."""
    compute = count_macs(graph).total / 2e12
    stream = max(0.0, count_params(graph).total - 8e6) / 320e6
    return 1e3 * max(compute, stream)


def main() -> None:
    """Print the comparison and the coefficients."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    names, graphs = list(PUBLISHED), [build() for _, build in PUBLISHED.values()]
    table = Table(graphs, [ms for ms, _ in PUBLISHED.values()])
    rows = np.arange(len(names))
    print(f"{'network':22} {'published':>9} {'estimate':>9} {'off':>6} {'roofline':>9} {'off':>6}")
    ratios, rooflines = [], []
    for row, name in enumerate(names):
        published = table.times[row]
        estimate = table.estimate(row, *table.fit(rows[rows != row]))
        roofline = estimate_roofline(graphs[row])
        ratios.append(published / estimate)
        rooflines.append(abs(roofline / published - 1))
        print(
            f"{name:22} {published:9.1f} {estimate:9.1f} {estimate / published - 1:+6.0%} "
            f"{roofline:9.1f} {roofline / published - 1:+6.0%}"
        )
    errors = np.abs(1 / np.array(ratios) - 1)
    print(
        f"mean error, left out of the fit: {errors.mean():.1%}; roofline: {np.mean(rooflines):.1%}"
    )
    cache_mb, found = table.fit(rows)
    low, high = np.percentile(ratios, [5, 95])
    print(f"CACHE_MB = {cache_mb}; COEFFICIENTS = {', '.join(f'{v:.3f}' for v in found)}")
    print(f"LOWEST, HIGHEST = {low:.2f}, {high:.2f}")


if __name__ == "__main__":
    main()

"""Points of a sweep side by side: in processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from edgevision.benchmarks.pareto.children import Children
from edgevision.benchmarks.pareto.work import PointWork, run_point
from edgevision.threads import count_cores

Finished = tuple[PointWork, dict[str, Any]]


def run_local(works: Sequence[PointWork], *, jobs: int) -> Iterator[Finished]:
    """Yield each point with its record, as they end.

    Whatever ends this early (Ctrl-C, an error) ends the running trainings as well; they go on from
    their last epoch another time.

    Args:
        works: What is to be done.
        jobs: How many at the same time; they share the cores.
    """
    children = Children(threads=max(1, count_cores() // jobs))
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        futures = {pool.submit(run_point, work, children): work for work in works}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.stop()
        pool.shutdown(wait=True)

"""Points of a sweep on the machines of a Ray cluster.

Every machine needs edgevision with its extras and the images under the same path. The run folder
is used where a machine sees it; elsewhere a point is made in a temporary folder, and its files
travel back.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.benchmarks.pareto.children import Children
from edgevision.benchmarks.pareto.pool import Finished
from edgevision.benchmarks.pareto.work import FAILED, FLOAT, INT8, PointWork, run_point
from edgevision.errors import InvalidConfigError, summarize
from edgevision.outputs import write_bytes

CPUS_PER_POINT = 2
CONNECT_SECONDS = 5.0

_Answer = tuple[dict[str, Any], dict[str, bytes]]


def run_on_cluster(works: Sequence[PointWork], *, address: str) -> Iterator[Finished]:
    """Yield each point with its record, as they end.

    Args:
        works: What is to be done.
        address: Of the cluster, as ``ray.init`` takes it: ``host:port``, ``ray://host:port`` or
            ``auto``.

    Raises:
        BackendUnavailableError: Ray is not installed.
        InvalidConfigError: No cluster answers at the address.
    """
    ray = import_backend("ray")
    _connect(ray, address)
    try:
        remote = ray.remote(num_cpus=CPUS_PER_POINT, max_retries=1)(make_point)
        waiting = {remote.remote(work): work for work in works}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            work = waiting.pop(done)
            yield work, _fetch(ray, done, work)
    finally:
        # Ends what still runs for us; the cluster stays.
        ray.shutdown()


def make_point(work: PointWork) -> _Answer:
    """Make one point on the machine that this runs on.

    Returns:
        The record, and the files by name where they were made in another folder.
    """
    children = Children(threads=CPUS_PER_POINT)
    try:
        if work.folder.is_dir():
            return run_point(work, children), {}
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            here = PointWork(point=work.point, settings=work.settings, folder=folder)
            record = run_point(here, children)
            names = (FLOAT, INT8)
            return record, {n: (folder / n).read_bytes() for n in names if (folder / n).is_file()}
    finally:
        children.stop()


def _connect(ray: Any, address: str) -> None:
    """Join the cluster; Ray itself would try for minutes where nothing listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises many kinds, among them bare RuntimeError and grpc's
        raise InvalidConfigError(
            "no Ray cluster answers",
            received=f"--ray {address}: {summarize(error)}",
            remedy="start one with `ray start --head`, and check address and versions",
        ) from error


def _fetch(ray: Any, done: Any, work: PointWork) -> dict[str, Any]:
    """Return the record of a point; a machine that fails makes a failed point of it."""
    try:
        record, files = ray.get(done)
    except Exception as error:  # noqa: BLE001 - whatever became of that machine is the reason
        return {
            "point": work.point.to_dict(),
            "status": FAILED,
            "stage": "ray",
            "reason": summarize(getattr(error, "cause", None) or error),
            "seconds": 0.0,
        }
    for name, content in files.items():
        write_bytes(work.folder / name, content)
    result: dict[str, Any] = record
    return result

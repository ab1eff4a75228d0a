"""``benchmark --host``: models timed on another device, through ``ssh``, with what it has.

A small program and the models are copied into a temporary folder there; every model runs in a
process of its own, and they are timed in turns as they are here. The folder is removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from edgevision.benchmarks.benchmark import add_latencies, find_uncertain
from edgevision.benchmarks.conditions import find_disturbances
from edgevision.benchmarks.probe import Probe
from edgevision.benchmarks.profile import Profile, profile
from edgevision.benchmarks.remote_host import RemoteHost
from edgevision.benchmarks.remote_runner import MARK
from edgevision.benchmarks.rows import FAILED, OK, UNAVAILABLE, BenchmarkReport, BenchmarkRow
from edgevision.errors import DelegateError, EdgeVisionError, InvalidConfigError, InvalidModelError
from edgevision.runtime.isolate import describe_exit
from edgevision.runtime.litert import Node, place_nodes
from edgevision.runtime.session import Placement
from edgevision.specs import Device, Progress
from edgevision.threads import resolve_threads

OPEN_SECONDS, TURN_SECONDS, END_SECONDS = 300.0, 600.0, 5.0
SUFFIXES = (".tflite", ".onnx")

RUNNER = "remote_runner.py"

_LOG_LINES = 50
_CHAT = ("INFO:", "W0", "I0")
_SSH_WORDS = re.compile(r"ssh:|client_loop|Connection |Timeout|kex_|mux_")
_SSH_FAILED = 255
_SHELL_SIGNAL = 128


class RemoteStation:
    """One model in a process on the device.

    Args:
        host: The device.
        name: Of the model's file there.
        threads: Of the interpreter; ``None`` for the physical cores there, four at the most.

    Attributes:
        pid: The process there, once the model is open.
    """

    def __init__(self, host: RemoteHost, name: str, threads: int | None) -> None:
        self._host, self._name = host, name
        self.pid = 0
        self._process = host.start(RUNNER, name, str(threads or 0))
        self._answers: queue.Queue[str] = queue.Queue()
        self._said: deque[str] = deque(maxlen=_LOG_LINES)
        self._listeners = [
            threading.Thread(target=listen, daemon=True) for listen in (self._listen, self._note)
        ]
        for listener in self._listeners:
            listener.start()

    def open(self) -> dict[str, Any]:
        """Open the model and run it once; see ``remote_runner.Runner.open``."""
        opened: dict[str, Any] = self.call("open", timeout_s=OPEN_SECONDS)
        self.pid = opened["pid"]
        return opened

    def warm_up(self) -> tuple[float, int]:
        """Run until the times are stable; return the first time, in ms, and the number of runs."""
        first_ms, count = self.call("warm_up")
        return first_ms, count

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        """Return the times of single runs over about ``seconds``, in ms."""
        times: list[float] = self.call("time_block", seconds=seconds, refill=refill)
        return times

    def call(self, method: str, *, timeout_s: float = TURN_SECONDS, **arguments: Any) -> Any:
        """Call a method of the runner.

        Raises:
            DelegateError: The connection broke, or no interpreter there takes such files.
            InvalidModelError: The interpreter refuses the file or crashes over it.
        """
        pipe = self._process.stdin
        with contextlib.suppress(BrokenPipeError, ValueError):
            if pipe is not None:
                pipe.write(json.dumps({"call": method, **arguments}) + "\n")
                pipe.flush()
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise self._lose(f"no answer within {timeout_s:g} s") from None
        if not line:
            self._answers.put("")  # for whoever calls again
            raise self._explain_end(self._process.wait())
        answer = json.loads(line)
        if "value" in answer:
            return answer["value"]
        raise self._explain_answer(answer)

    def close(self) -> None:
        """End the process; it ends itself when its standard input does."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except Exception:  # noqa: BLE001 - whatever it is: it must end
            self._process.kill()
            self._process.wait()
        for listener, pipe in zip(
            self._listeners, (self._process.stdout, self._process.stderr), strict=True
        ):
            listener.join(END_SECONDS)
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        """Hand on the answers; other lines are what a shell says at a login."""
        for line in self._process.stdout or ():
            if line.startswith(MARK):
                self._answers.put(line.removeprefix(MARK))
        self._answers.put("")

    def _explain_answer(self, answer: dict[str, str]) -> EdgeVisionError:
        if answer["kind"] == "interpreter":
            suffix = Path(self._name).suffix
            package = "onnxruntime" if suffix == ".onnx" else "ai-edge-litert"
            return DelegateError(
                f"the device has no interpreter for {suffix} files: {answer['error']}",
                device=self._host.host,
                remedy=f"pip install {package} there, or name a Python that has one with "
                "--remote-python PATH",
            )
        return InvalidModelError(
            "the device can not run this file",
            received=answer["error"],
            remedy="another version of the interpreter may",
        )

    def _explain_end(self, code: int) -> EdgeVisionError:
        if code == _SSH_FAILED:
            return self._lose("ssh ended")
        # ssh hands on what the shell says: 128 and the number of the signal.
        ended = describe_exit(_SHELL_SIGNAL - code if code > _SHELL_SIGNAL else code)
        self._listeners[-1].join(END_SECONDS)
        said = list(self._said)[-1:]
        return InvalidModelError(
            "the model did not survive on the device", received="; ".join((ended, *said))
        )

    def _lose(self, reason: str) -> DelegateError:
        said = [line for line in self._said if _SSH_WORDS.match(line)]
        return DelegateError(
            f"the connection was lost: {said[-1] if said else reason}", device=self._host.host
        )

    def _note(self) -> None:
        """Keep what ssh and the program there complain about; the interpreters' chat is none."""
        for line in self._process.stderr or ():
            if line.strip() and not line.startswith(_CHAT):
                self._said.append(line.strip())


def benchmark_remote(
    files: Sequence[str | Path],
    *,
    host: str,
    python: str = "python3",
    threads: Sequence[int | None] = (None,),
    seconds: float = 2.0,
    progress: Progress | None = None,
) -> BenchmarkReport:
    """Measure models beside each other on another device's processor.

    It needs an ssh server, Python, NumPy and an interpreter for the files, not edgevision.
    Accuracy is not measured there.

    Args:
        files: ``.tflite`` and ``.onnx`` files.
        host: As ``ssh`` takes it.
        python: The Python there.
        threads: Thread counts to try; ``None`` for the device's physical cores, four at the most.
        seconds: Timed seconds per row at the least.
        progress: Called with stage, done and total.

    Returns:
        A report as that of ``benchmark``; ``environment`` and ``conditions`` are the device's.

    Raises:
        InvalidConfigError: There is no file, or one of another format.
        MissingFileError: A file does not exist.
        InvalidModelError: A file is damaged.
        DelegateError: The device can not be reached, refuses the login, lacks Python, space or any
            interpreter, or went away.
    """
    profiles = _read_profiles(files)
    counts = [count if count is None else resolve_threads(count) for count in threads]
    with RemoteHost(host, python=python) as device:
        names = _send_files(device, files)
        jobs = list(product(zip(files, profiles, names, strict=True), counts))
        with _open_stations(device, [(name, count) for (_, _, name), count in jobs]) as stations:
            rows: list[BenchmarkRow] = []
            for ((file, counted, _), count), station in zip(jobs, stations, strict=True):
                if progress:
                    progress("opening", len(rows), len(jobs))
                rows.append(_open(station, str(file), counted, count))
            _check_any(rows, host)
            observer = _Observer([s for s, r in zip(stations, rows, strict=True) if r.status == OK])
            rows = add_latencies(rows, stations, seconds, progress)
            _check_any(rows, host)
            conditions, about = observer.finish()
    return BenchmarkReport(
        rows=tuple(rows),
        environment={"host": host, **about},
        conditions=conditions,
        warnings=(*find_disturbances(conditions), *find_uncertain(rows)),
    )


def _read_profiles(files: Sequence[str | Path]) -> list[Profile]:
    if not files:
        raise InvalidConfigError("nothing to measure", remedy="name at least one model file")
    for file in files:
        if Path(file).suffix.lower() not in SUFFIXES:
            raise InvalidConfigError(
                "only .tflite and .onnx files run on a device", received=file, remedy="convert it"
            )
    return [profile(file) for file in files]


def _send_files(device: RemoteHost, files: Sequence[str | Path]) -> list[str]:
    """Copy runner and models; return the models' names there."""
    for name in (RUNNER, "conditions.py"):
        device.send(Path(__file__).with_name(name), name)
    names = []
    for number, file in enumerate(files):
        names.append(f"model_{number}{Path(file).suffix.lower()}")
        device.send(file, names[-1])
    return names


@contextmanager
def _open_stations(
    device: RemoteHost, jobs: Sequence[tuple[str, int | None]]
) -> Iterator[list[RemoteStation]]:
    with ExitStack() as stack:
        stations = []
        for name, count in jobs:
            station = RemoteStation(device, name, count)
            stack.callback(station.close)
            stations.append(station)
        yield stations


def _open(station: RemoteStation, file: str, counted: Profile, threads: int | None) -> BenchmarkRow:
    """Open one model; a failure is a row as well."""
    row = BenchmarkRow(file=file, device=Device.CPU, threads=threads or 1, profile=counted)
    try:
        opened = station.open()
    except EdgeVisionError as error:
        status = UNAVAILABLE if isinstance(error, DelegateError) else FAILED
        return replace(row, status=status, reason=str(error))
    probe = Probe(
        backend=opened["backend"],
        placement=_read_placement(opened["nodes"]),
        peak_memory_bytes=opened["peak_memory_bytes"],
        open_ms=opened["open_ms"],
        first_ms=opened["first_ms"],
    )
    return replace(row, threads=opened["threads"], probe=probe)


class _Observer:
    """Watches the device from inside one of its runners; all that it tells is by the way.

    Args:
        stations: Those whose model runs.
    """

    def __init__(self, stations: Sequence[RemoteStation]) -> None:
        self._station = stations[0] if stations else None
        if self._station is not None:
            self._station.call("start_watch", pids=[station.pid for station in stations])

    def finish(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return conditions and environment; empty where that runner is gone."""
        try:
            if self._station is not None:
                return self._station.call("finish_watch"), self._station.call("describe")
        except EdgeVisionError:
            pass
        return {}, {}


def _read_placement(nodes: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> Placement:
    """Tell from the interpreter's list which operations a delegate took."""
    listed = [Node(name, tuple(inputs), tuple(outputs)) for name, inputs, outputs in nodes]
    return place_nodes(listed)


def _check_any(rows: Sequence[BenchmarkRow], host: str) -> None:
    """Fail where the device is at fault for every row: a table of nothing would hide the reason."""
    mark = f" (device={host})"
    if all(row.status != OK and mark in row.reason for row in rows):
        what, _, remedy = rows[0].reason.partition(mark)
        raise DelegateError(what, device=host, remedy=remedy.removeprefix(": "))

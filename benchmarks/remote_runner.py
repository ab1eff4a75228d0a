"""Runs one model on a device for somebody far away: copied there, alone, with ``conditions.py``.

It needs Python 3.8, NumPy, and whatever interpreter the device has; nothing of edgevision. A line
of JSON on standard input is a request, a marked line on standard output its answer. When standard
input ends, so does the runner.

Usage: remote_runner.py MODEL THREADS (0 for the physical cores, four at the most)
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

MARK = "edgevision:"
FOLDER_PREFIX = "edgevision."
TFLITE_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow")
MAX_THREADS = 4

# As in latency.py, so that figures from here and from there mean the same.
WARMUP_MS, WINDOW, STABLE_RATIO = 1000.0, 5, 1.05


class RequestError(Exception):
    """A request that can not be fulfilled: what is missing, and in words."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Runner:
    """One model, opened by request."""

    def __init__(self, path: str, threads: int) -> None:
        self.path, self.threads = path, threads or min(_count_cores(), MAX_THREADS)
        self.invoke: Callable[[], Any] = self.open
        self.first_ms = 0.0
        self.watch: Any = None

    def open(self) -> dict[str, Any]:
        """Open the model, run it once on random input, and tell what that took."""
        create = _open_onnx if self.path.endswith(".onnx") else _open_tflite
        prepare, backend = create(self.path, self.threads)
        before = _start_memory_watch()
        start = time.perf_counter()
        try:
            self.invoke, nodes = prepare()
            opened = time.perf_counter()
            self.invoke()
        except Exception as error:
            raise RequestError("model", f"{backend}: {_summarize(error)}") from error
        self.first_ms = 1e3 * (time.perf_counter() - opened)
        return {
            "backend": backend,
            "threads": self.threads,
            "nodes": nodes,
            "open_ms": 1e3 * (opened - start),
            "first_ms": self.first_ms,
            "peak_memory_bytes": max(0, _read_peak_bytes() - before),
            "pid": os.getpid(),
        }

    def warm_up(self) -> tuple[float, int]:
        """Run until two windows in a row agree; return the first time and the number of runs."""
        times: list[float] = []
        while sum(times) < WARMUP_MS or len(times) < 2:
            times.append(_time_once(self.invoke))
            if len(times) <= 2 * WINDOW:
                continue
            before, after = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
            if max(before, after) <= STABLE_RATIO * min(before, after):
                break
        return self.first_ms, len(times) + 1

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        """Return the times of single runs over about ``seconds``, in ms."""
        if refill:
            self.invoke()
        times = [_time_once(self.invoke)]
        spent = times[0]
        while spent < seconds * 1e3:
            times.append(_time_once(self.invoke))
            spent += times[-1]
        return times

    def start_watch(self, pids: list[int]) -> None:
        """Begin to observe the device, with runners whose work is no disturbance."""
        self.watch = importlib.import_module("conditions").Watch(pids)

    def finish_watch(self) -> dict[str, Any]:
        """Return the conditions of the measurement."""
        return dict(self.watch.finish())

    def describe(self) -> dict[str, Any]:
        """Describe the device and its software."""
        read = importlib.import_module("conditions").read_text
        board = read("/proc/device-tree/model")
        lines = read("/proc/cpuinfo").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "processor": board or (names[0] if names else platform.processor()),
            "cores": _count_cores(),
            "python": platform.python_version(),
        }


def _open_tflite(path: str, threads: int) -> Any:
    failures = []
    for name in TFLITE_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            failures.append(f"{name.split('.')[0]}: {_summarize(error)}")
            continue
        # TensorFlow makes this part on demand: it can not be imported by its name.
        module = getattr(module, "lite", module)

        def prepare(module: Any = module) -> Any:
            interpreter = module.Interpreter(model_path=path, num_threads=threads)
            interpreter.allocate_tensors()
            for details in interpreter.get_input_details():
                interpreter.set_tensor(details["index"], _make_input(**details))
            # Old versions do not list their operations.
            listed: Any = getattr(interpreter, "_get_ops_details", tuple)()
            nodes = [
                [d["op_name"], [int(i) for i in d["inputs"]], [int(i) for i in d["outputs"]]]
                for d in listed
            ]
            return interpreter.invoke, nodes

        return prepare, _name_backend(name)
    raise RequestError("interpreter", "; ".join(failures))


def _open_onnx(path: str, threads: int) -> Any:
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RequestError("interpreter", "onnxruntime: " + _summarize(error)) from error

    def prepare() -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feeds = {}
        for spec in session.get_inputs():
            shape = [n if isinstance(n, int) and n > 0 else 1 for n in spec.shape]
            dtype = spec.type[len("tensor(") : -1].replace("float", "float32")
            names = {"float3216": "float16", "double": "float64"}
            feeds[spec.name] = _make_input(shape=shape, dtype=names.get(dtype, dtype))
        return lambda: session.run(None, feeds), []

    return prepare, _name_backend("onnxruntime")


def _make_input(shape: Any, dtype: Any, **_others: Any) -> Any:
    """Return floats in [-1, 1), small integers over their whole range, of others 0 and 1."""
    numpy: Any = importlib.import_module("numpy")
    rng, kind = numpy.random.RandomState(0), numpy.dtype(dtype)
    if kind.kind == "f":
        return rng.uniform(-1, 1, size=shape).astype(kind)
    if kind.itemsize > 2 or kind.kind == "b":
        return rng.randint(0, 2, size=shape).astype(kind)
    limits = numpy.iinfo(kind)
    return rng.randint(limits.min, int(limits.max) + 1, size=shape).astype(kind)


def _name_backend(module: str) -> str:
    package = module.split(".", maxsplit=1)[0]
    try:
        metadata = importlib.import_module("importlib.metadata")
        return f"{package} {metadata.version(package.replace('_', '-'))}"
    except ImportError:  # a package of the system without a record
        return package


def _count_cores() -> int:
    """Count the physical cores that this process may use."""
    try:
        cpus = sorted(os.sched_getaffinity(0))
    except AttributeError:
        cpus = list(range(os.cpu_count() or 1))
    seen = set()
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            seen.add(path.read_text().strip())
        except OSError:
            seen.add(str(cpu))
    return max(1, len(seen))


def _time_once(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def _start_memory_watch() -> int:
    """Forget earlier peaks (Linux: proc(5), clear_refs); return the resident bytes now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return _read_peak_bytes()


def _read_peak_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(li.split()[1]) * 1024 for li in lines if li.startswith("VmHWM")), 0)


def _summarize(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip()[:300] if lines else type(error).__name__


def _answer(runner: Runner, request: dict[str, Any]) -> dict[str, Any]:
    method = getattr(runner, request.pop("call"))
    try:
        return {"value": method(**request)}
    except RequestError as error:
        return {"error": str(error), "kind": error.kind}
    except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
        text = f"{type(error).__name__}: {_summarize(error)}"
        return {"error": text, "kind": "other"}


def main() -> None:
    """Answer requests until there are no more."""
    # Native code may write to standard output: the answers get a stream of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    runner = Runner(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        answers.write(MARK + json.dumps(_answer(runner, json.loads(line))) + "\n")
        answers.flush()
    # Whoever asked cleans up; where they are gone for good, nobody else would.
    folder = Path(__file__).resolve().parent
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(str(folder), ignore_errors=True)
    # Some native libraries crash while they are taken down; nothing is left to lose.
    os._exit(0)


if __name__ == "__main__":
    main()

"""Planned activation memory beside what interpreters really allocate.

Run it with ``python benchmarks/peers/arena.py FILE.tflite…``. TFLite Micro's arena is read from
its own interpreter (``pip install tflite-micro``, Linux on x86-64; give its Python with
``--micro-python`` where it lives in another environment): the "head" of the arena, which holds
activations and scratch memory, as its recording allocator prints it. LiteRT's arena without
delegates is the span of the addresses of its tensors, kernels' scratch memory included.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgevision.benchmarks.memory import TFLITE, TFLITE_MICRO, plan_memory
from edgevision.graph.reader import read_graph

_MICRO = """
import sys
from tflite_micro.python.tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1]).print_allocations()
"""
_HEAD = re.compile(r"Arena allocation head (\d+) bytes")


def measure_micro(path: Path, python: str) -> int | None:
    """Return the head of TFLite Micro's arena in bytes; ``None`` where it refuses the file."""
    done = subprocess.run(
        [python, "-c", _MICRO, str(path)], capture_output=True, text=True, check=False
    )
    found = _HEAD.search(done.stdout + done.stderr)
    return int(found.group(1)) if found else None


def measure_litert(path: Path) -> int | None:
    """Return the span of LiteRT's tensors in bytes; ``None`` where it refuses the file."""
    interpreter = Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    try:
        interpreter.allocate_tensors()
    except RuntimeError:
        return None
    constants = {t.index for t in read_graph(path).constants}
    starts, ends = [], []
    for details in interpreter.get_tensor_details():
        if details["index"] in constants:
            continue
        try:
            view = interpreter.tensor(details["index"])()
        except ValueError:  # scratch memory that lies elsewhere, or nowhere
            continue
        starts.append(view.__array_interface__["data"][0])
        ends.append(starts[-1] + view.nbytes)
    return int(max(ends) - min(starts))


def main() -> None:
    """Print one line per file and interpreter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--micro-python", default=sys.executable)
    options = parser.parse_args()
    print(f"{'file':32} {'arena of':14} {'planned':>10} {'allocated':>10}  difference")
    for path in options.files:
        graph = read_graph(path)
        for planner, allocated in (
            (TFLITE_MICRO, measure_micro(path, options.micro_python)),
            (TFLITE, measure_litert(path)),
        ):
            planned = plan_memory(graph, planner).peak_bytes
            difference = f"{planned / allocated - 1:+.1%}" if allocated else "refused"
            print(
                f"{path.name:32} {planner.name:14} {planned:10} {allocated or 0:10}  {difference}"
            )


if __name__ == "__main__":
    main()

"""Commands of edgevision as child processes that do not outlive whoever started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from edgevision.runtime.isolate import describe_exit

# The child ends when the other end of its standard input closes, which the system does for us
# however we end. os.read, not sys.stdin: a reader that waits there would disturb Python's exit.
_CODE = """
import os, runpy, sys, threading
def watch():
    while os.read(0, 1): pass
    os._exit(143)
threading.Thread(target=watch, daemon=True).start()
sys.argv[0] = "edgevision"
runpy.run_module("edgevision", run_name="__main__", alter_sys=True)
"""
_LOG_LINES = 3


class ChildFailedError(RuntimeError):
    """A command did not end well; the message is its own."""


class Children:
    """Runs commands, several at the same time if asked from several threads, and ends them all.

    Args:
        threads: Threads that each may use.
    """

    def __init__(self, threads: int) -> None:
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
        }
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, arguments: Sequence[str]) -> Any:
        """Run one command with ``--json --quiet`` and return its document.

        Raises:
            ChildFailedError: It failed, was killed, or printed no JSON.
        """
        command = [sys.executable, "-P", "-c", _CODE, *arguments, "--json", "--quiet"]
        with self._lock:
            if self._stopped:
                raise ChildFailedError("interrupted")
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # Ctrl-C in a terminal reaches us alone; we end them.
                start_new_session=True,
            )
            self._running.add(process)
        try:
            out, err = _collect(process)
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            raise ChildFailedError(_describe_failure(process.returncode, err))
        try:
            return json.loads(out)
        except ValueError as error:
            raise ChildFailedError(f"edgevision {arguments[0]} printed no JSON") from error

    def stop(self) -> None:
        """End all that runs and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def _collect(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read both streams to their end without closing the child's standard input before."""
    lines: list[str] = []
    if process.stdout is None or process.stderr is None or process.stdin is None:
        return "", ""
    stream = process.stderr
    reader = threading.Thread(target=lambda: lines.extend(stream), daemon=True)
    reader.start()
    try:
        out = process.stdout.read()
        process.wait()
        reader.join()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.stderr.close()
    return out, "".join(lines)


def _describe_failure(code: int, log: str) -> str:
    """Return the command's own words, or how it ended and the last it said."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        for mark in ("error: ", "failed: "):
            if line.startswith(mark):
                return line.removeprefix(mark)
    return "; ".join((describe_exit(code), *lines[-_LOG_LINES:]))

"""An object in a process of its own: what native code breaks there, it breaks for nobody else."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from edgevision.runtime.isolate import (
    DEFAULT_TIMEOUT_S,
    catch,
    child_environment,
    create_failure,
    describe_exit,
    rebuild_error,
)

_COMMAND = "from edgevision.runtime.worker import serve; serve()"
_END_SECONDS = 5.0


class Worker:
    """A child process that holds one object and calls its methods, one at a time.

    The process starts at once and creates the object when it is ready; the first call waits for
    both. Use it as a context manager, or ``close`` it.

    Args:
        factory: A class or function at the top level of an importable module.
        *args: Its arguments, picklable.
    """

    def __init__(self, factory: Callable[..., object], *args: Any) -> None:
        self._name = factory.__qualname__
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            # -P: a module.py in the working folder must not take the place of an installed one.
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=child_environment(),
        )
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._send((factory.__module__, factory.__qualname__, args))
        self._ready = False

    @property
    def pid(self) -> int:
        """Identifier of the process."""
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, *args: Any, timeout_s: float = DEFAULT_TIMEOUT_S) -> Any:
        """Call a method of the object and return what it returns.

        Args:
            method: Its name.
            *args: Its arguments, picklable.
            timeout_s: The child is killed after this time.

        Raises:
            IsolatedCallError: The child was killed, did not answer in time, or raised anything
                that is not an error of this package.
            EdgeVisionError: The same error that the object raised.
        """
        if not self._ready:
            self._receive("start", timeout_s)
            self._ready = True
        self._send((method, args))
        return self._receive(method, timeout_s)

    def close(self) -> None:
        """End the process; without effect on a closed worker."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_END_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _send(self, request: tuple[Any, ...]) -> None:
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(pickle.dumps(request))
                pipe.flush()
        except (BrokenPipeError, ValueError):
            pass  # it ended; the answer that does not come says so

    def _listen(self) -> None:
        """Hand on what the child answers, until its end."""
        pipe = self._process.stdout
        try:
            while pipe is not None:
                # Written by our own child on a stream that nothing else can reach.
                self._answers.put(pickle.load(pipe))
        except (EOFError, pickle.UnpicklingError, ValueError):
            self._answers.put(("end", None))

    def _receive(self, method: str, timeout_s: float) -> Any:
        call = ("", f"{self._name}.{method}")
        try:
            kind, content = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self._process.kill()
            raise create_failure(call, f"no answer within {timeout_s:g} s", b"") from None
        if kind == "end":
            code = self._process.wait()
            reason = describe_exit(code) if code else "it ended without an answer"
            self._answers.put(("end", None))  # for whoever calls again
            raise create_failure(call, reason, self._read_log())
        if kind == "error":
            raise rebuild_error(*content)
        if kind == "failure":
            raise create_failure(call, content, self._read_log())
        return content

    def _read_log(self) -> bytes:
        self._log.seek(0)
        return self._log.read()


def serve() -> None:
    """Hold the object and answer until the stream of requests ends; the child's side."""
    # The answers get a stream of their own: native code may write to standard output.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        requests = sys.stdin.buffer
        module, name, args = pickle.load(requests)
        held = catch(partial(_create, module, name, args))
        answer = ("value", None) if held[0] == "value" else held
        while True:
            answers.write(pickle.dumps(answer))
            answers.flush()
            try:
                method, args = pickle.load(requests)
            except EOFError:
                break
            answer = catch(partial(_call_method, held[1], method, args))
    sys.stderr.flush()
    # Some native libraries crash while they are taken down; nothing is left to lose.
    os._exit(0)


def _create(module: str, name: str, args: tuple[Any, ...]) -> object:
    return getattr(importlib.import_module(module), name)(*args)


def _call_method(held: object, method: str, args: tuple[Any, ...]) -> Any:
    return getattr(held, method)(*args)

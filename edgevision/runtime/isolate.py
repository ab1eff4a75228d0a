"""Run a function in a child process, so that a crash of native code ends the child and not us.

Interpreters and delegates are native libraries: some files and drivers make them abort or fall
into a segmentation fault, which no ``except`` catches.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.errors import EdgeVisionError, InvalidModelError
from edgevision.runtime.session import Placement

DEFAULT_TIMEOUT_S = 120.0
_LOG_BYTES = 4000
_COMMAND = "from edgevision.runtime.isolate import serve; serve()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a function ended in its child process.

    Attributes:
        value: What it returned, if it returned.
        error: The error of this package that it raised, if it did.
        failure: Why there is neither: a signal, a time-out, another exception; otherwise empty.
        log: The end of what native libraries wrote to the child's error stream.
    """

    value: Any = None
    error: EdgeVisionError | None = None
    failure: str = ""
    log: str = ""

    @property
    def ok(self) -> bool:
        """Whether the function returned."""
        return self.error is None and not self.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a model's session said in a child process.

    Attributes:
        backend: Interpreter and version.
        placement: Which operations a delegate took.
    """

    backend: str
    placement: Placement


def run_isolated(
    function: Callable[..., Any], *args: Any, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Outcome:
    """Call a function in a fresh interpreter.

    Args:
        function: A function at the top level of an importable module.
        *args: Its arguments, picklable.
        timeout_s: The child is killed after this time.

    Returns:
        The value, or why there is none. Never raises for what happens in the child.
    """
    call = (function.__module__, function.__qualname__, args)
    request = pickle.dumps((sys.path, call))
    try:
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND],
            input=request,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        log = _read_end(error.stderr or b"")
        return Outcome(failure=f"no answer within {timeout_s:g} s", log=log)
    return _read_answer(done)


def probe_model(
    path: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Probe:
    """Load a model and run it once in a child process.

    Raises:
        InvalidModelError: The interpreter crashes, hangs or fails on this file.
        EdgeVisionError: Whatever ``open_session`` raises for this file and device.
    """
    outcome = run_isolated(_open_and_run, str(path), str(device), threads, timeout_s=timeout_s)
    if outcome.error is not None:
        raise outcome.error
    if outcome.failure:
        raise InvalidModelError(
            "the interpreter does not survive this model",
            received=f"{path}: {outcome.failure}",
            remedy="convert the model again, or report the file to the interpreter's makers",
        )
    backend, placement = outcome.value
    return Probe(backend=backend, placement=placement)


def _open_and_run(path: str, device: str, threads: int | None) -> tuple[str, Placement]:
    """Run in the child: load, run once on what the input buffers hold, describe."""
    from edgevision.runtime.sessions import open_session

    session = open_session(path, device=device, threads=threads)
    session.invoke()
    return session.backend, session.placement()


def serve() -> None:
    """Answer one request from standard input; the child's side of ``run_isolated``."""
    # The answer gets a stream of its own: native code may write to standard output.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        sys.path[:], call = pickle.load(sys.stdin.buffer)
        answer = _call(*call)
        answers.write(pickle.dumps(answer))
        answers.flush()
    # Some native libraries crash while they are taken down; the answer is out already.
    sys.stderr.flush()
    os._exit(0)


def _call(module: str, name: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        return "value", function(*args)
    except EdgeVisionError as error:
        # Their constructors take keywords, which exceptions do not keep when pickled.
        return "error", (type(error), error.args, vars(error))
    except Exception as error:  # noqa: BLE001 - reported to the parent, which decides
        return "failure", f"{type(error).__name__}: {error}"


def _read_answer(done: subprocess.CompletedProcess[bytes]) -> Outcome:
    log = _read_end(done.stderr)
    if done.returncode != 0:
        return Outcome(failure=describe_exit(done.returncode), log=log)
    kind, content = pickle.loads(done.stdout)
    if kind == "failure":
        return Outcome(failure=content, log=log)
    if kind == "error":
        return Outcome(error=_rebuild_error(*content), log=log)
    return Outcome(value=content, log=log)


def _rebuild_error(
    kind: type[EdgeVisionError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> EdgeVisionError:
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(attributes)
    return error


def describe_exit(code: int) -> str:
    """Say how a process ended.

    >>> describe_exit(-11), describe_exit(3)
    ('it was killed by SIGSEGV', 'it ended with exit code 3')
    """
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def _read_end(log: bytes) -> str:
    return log[-_LOG_BYTES:].decode(errors="replace").strip()

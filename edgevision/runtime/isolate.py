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
from typing import Any, TypeVar

from edgevision.errors import EdgeVisionError, InvalidModelError

Result = TypeVar("Result")

DEFAULT_TIMEOUT_S = 120.0
_LOG_BYTES = 4000
_MARK = "EDGEVISION_ISOLATED"
_COMMAND = "from edgevision.runtime.isolate import serve; serve()"


class IsolatedCallError(InvalidModelError):
    """A child process crashed, hung or failed in an unforeseen way.

    Attributes:
        log: The end of what native libraries wrote to the child's error stream.
    """

    log: str = ""


def run_isolated(
    function: Callable[..., Result], *args: Any, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Result:
    """Call a function in a fresh interpreter.

    Args:
        function: A function at the top level of an importable module.
        *args: Its arguments, picklable.
        timeout_s: The child is killed after this time.

    Returns:
        What the function returns; it must be picklable.

    Raises:
        IsolatedCallError: The child was killed by a signal, did not answer in time, or raised
            anything that is not an error of this package.
        EdgeVisionError: The same error that the function raised.
    """
    call = (function.__module__, function.__qualname__, args)
    try:
        done = subprocess.run(
            # -P: a module.py in the working folder must not take the place of an installed one.
            [sys.executable, "-P", "-c", _COMMAND],
            input=pickle.dumps(call),
            capture_output=True,
            timeout=timeout_s,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"no answer within {timeout_s:g} s"
        raise create_failure(call, reason, error.stderr or b"") from error
    if done.returncode != 0:
        raise create_failure(call, describe_exit(done.returncode), done.stderr)
    try:
        # Written by our own child on a stream that nothing else can reach.
        kind, content = pickle.loads(done.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise create_failure(call, "it ended without an answer", done.stderr) from error
    if kind == "error":
        raise rebuild_error(*content)
    if kind == "failure":
        raise create_failure(call, content, done.stderr)
    result: Result = content
    return result


def child_environment() -> dict[str, str]:
    """Return the environment of a child process: the same modules, and a mark that it is one."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, _MARK: "1", "PYTHONPATH": path}


def is_isolated() -> bool:
    """Tell whether this process is a child of ours, whose crash harms nobody else."""
    return _MARK in os.environ


def serve() -> None:
    """Answer one request from standard input; the child's side of ``run_isolated``."""
    # The answer gets a stream of its own: native code may write to standard output.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        call = pickle.load(sys.stdin.buffer)
        answers.write(pickle.dumps(catch(lambda: _call(*call))))
        answers.flush()
    # Some native libraries crash while they are taken down; the answer is out already.
    sys.stderr.flush()
    os._exit(0)


def _call(module: str, name: str, args: tuple[Any, ...]) -> Any:
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return function(*args)


def catch(call: Callable[[], Any]) -> tuple[str, Any]:
    """Call in a child process and pack the result, or what went wrong, for its parent.

    Returns:
        ``value`` and the result; ``error`` and the parts of an error of this package; or
        ``failure`` and the text of any other.
    """
    try:
        return "value", call()
    except EdgeVisionError as error:
        # Their constructors take keywords, which exceptions do not keep when pickled.
        return "error", (type(error), error.args, vars(error))
    except Exception as error:  # noqa: BLE001 - reported to the parent, which decides
        return "failure", f"{type(error).__name__}: {error}"


def create_failure(call: tuple[Any, ...], reason: str, log: bytes) -> IsolatedCallError:
    """Return the error for a child process that ended badly.

    Args:
        call: Module and name of what ran there.
        reason: How it ended.
        log: What it wrote to its error stream.
    """
    error = IsolatedCallError(
        f"{call[1]} did not survive in a process of its own",
        received=reason,
        remedy="convert the model again, or try another version of the interpreter",
    )
    error.log = log[-_LOG_BYTES:].decode(errors="replace").strip()
    return error


def rebuild_error(
    kind: type[EdgeVisionError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> EdgeVisionError:
    """Return an error of this package that a child process packed."""
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

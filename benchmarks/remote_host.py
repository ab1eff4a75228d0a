"""A device that is reached with the system's ``ssh``: a folder there, files, and processes."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from edgevision.benchmarks.remote_runner import FOLDER_PREFIX
from edgevision.errors import DelegateError, InvalidConfigError

CONNECT_SECONDS = 10
COMMAND_SECONDS = 120.0

# Exit codes of our own script; ssh itself ends with 255.
_NO_PYTHON, _NO_FOLDER, _SSH_FAILED = 69, 74, 255

_LOGIN_REMEDIES = (
    ("Permission denied", "the device refuses the login", "set up a key: ssh-copy-id {host}"),
    ("Host key verification failed", "the device is not known", "connect once by hand: ssh {host}"),
    ("REMOTE HOST IDENTIFICATION", "the device has another key", "connect by hand: ssh {host}"),
)
_UNREACHABLE = "check its name, that it is on, and that it runs an ssh server"


class RemoteHost:
    """A device, with a temporary folder that is gone afterwards; use it as a context manager.

    All commands share one connection, so that a password is asked for once.

    Args:
        host: As ``ssh`` takes it: ``pi@raspberrypi.local``, a name of its configuration, or
            ``ssh://user@host:port``.
        python: The Python there that has an interpreter for models.

    Attributes:
        folder: The temporary folder on the device.
    """

    def __init__(self, host: str, *, python: str = "python3") -> None:
        if not host or host.startswith("-"):
            raise InvalidConfigError(
                "a host is a name as ssh takes it",
                received=f"--host {host}",
                remedy="for example --host pi@raspberrypi.local",
            )
        self.host, self.python = host, python
        self.folder = ""
        # Short: the path of a socket has about a hundred characters at the most.
        self._sockets = Path(tempfile.mkdtemp(prefix="ev-"))

    def __enter__(self) -> RemoteHost:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, path: str | Path, name: str) -> None:
        """Copy a file into the folder.

        Raises:
            DelegateError: There is no space, or the connection broke.
        """
        target = shlex.quote(f"{self.folder}/{name}")
        with Path(path).open("rb") as file:
            done = self._run(f"cat > {target}", stdin=file)
        if done.returncode:
            raise self._explain(done, f"{Path(path).name} can not be copied to the device")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the device's Python in the folder; its standard streams are pipes.

        Args:
            *arguments: What follows the name of the program.
        """
        words = " ".join(shlex.quote(word) for word in (self.python, *arguments))
        # exec: a signal that ends it is the exit code.
        return subprocess.Popen(
            self._compose(f"cd {shlex.quote(self.folder)} && exec {words}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C in a terminal reaches us alone; we end them and clean up.
            start_new_session=True,
        )

    def close(self) -> None:
        """Remove the folder and end the connection; never fails."""
        if self.folder:
            with contextlib.suppress(DelegateError):
                self._run(f"rm -rf {shlex.quote(self.folder)}")
            self.folder = ""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["ssh", *self._list_options(), "-O", "exit", "--", self.host],
                capture_output=True,
                timeout=CONNECT_SECONDS,
                check=False,
            )
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _open(self) -> None:
        """Connect, look for Python, and make the folder.

        Raises:
            DelegateError: No connection, no Python, or no place for the folder.
        """
        python = shlex.quote(self.python)
        done = self._run(
            f"command -v {python} >/dev/null 2>&1 || exit {_NO_PYTHON}; "
            f'mktemp -d "${{TMPDIR:-/tmp}}/{FOLDER_PREFIX}XXXXXX" || exit {_NO_FOLDER}',
            own_session=False,  # the password is asked for on the terminal
        )
        if done.returncode == _NO_PYTHON:
            raise DelegateError(
                f"there is no {self.python} on the device",
                device=self.host,
                remedy="install Python there, or name it with --remote-python PATH",
            )
        if done.returncode:
            raise self._explain(done, "no temporary folder can be made on the device")
        # What shells say at a login comes before.
        self.folder = done.stdout.strip().splitlines()[-1]

    def _run(
        self, script: str, *, stdin: int | IO[bytes] = subprocess.DEVNULL, own_session: bool = True
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                self._compose(script),
                stdin=stdin,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                start_new_session=own_session,
                check=False,
            )
        except FileNotFoundError as error:
            raise DelegateError(
                "the program ssh is missing here",
                device=self.host,
                remedy="install an OpenSSH client",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise DelegateError(
                f"the device did not answer within {COMMAND_SECONDS:g} s",
                device=self.host,
                remedy=_UNREACHABLE,
            ) from error

    def _compose(self, script: str) -> list[str]:
        # sh -c: the login shell there may be any.
        return ["ssh", *self._list_options(), "--", self.host, f"sh -c {shlex.quote(script)}"]

    def _list_options(self) -> list[str]:
        settings = {
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ServerAliveInterval": "15",
            "LogLevel": "ERROR",
            "ControlMaster": "auto",
            "ControlPath": f"{self._sockets}/%C",
            "ControlPersist": "60",
            # Where nobody can answer a question, none is asked.
            "BatchMode": "no" if sys.stdin is not None and sys.stdin.isatty() else "yes",
        }
        return [word for item in settings.items() for word in ("-o", "=".join(item))]

    def _explain(self, done: subprocess.CompletedProcess[str], what: str) -> DelegateError:
        """Return the error that a failed command means."""
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit code {done.returncode}"
        if "No space left" in done.stderr or "Disk quota" in done.stderr:
            return DelegateError(
                f"{what}: its disk is full",
                device=self.host,
                remedy="free some space in /tmp there",
            )
        if done.returncode != _SSH_FAILED:
            return DelegateError(f"{what}: {last}", device=self.host)
        for mark, meaning, remedy in _LOGIN_REMEDIES:
            if mark in done.stderr:
                return DelegateError(
                    meaning, device=self.host, remedy=remedy.format(host=self.host)
                )
        return DelegateError(
            f"the device can not be reached: {last}", device=self.host, remedy=_UNREACHABLE
        )

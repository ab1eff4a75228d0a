"""Trainings of the demo that run at the same time, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from edgevision.cli.story import ALPHA, ChapterPaths
from edgevision.errors import QualityGateError
from edgevision.threads import count_cores

Tell = Callable[[str], None]

_NOTE, _ERROR = "note: ", "error: "


def train_beside(chapters: Sequence[ChapterPaths], *, weights: Path, seed: int, tell: Tell) -> None:
    """Train several networks at the same time, as ``edgevision train`` does.

    One small network keeps hardly more than one core busy.

    Args:
        chapters: What to train.
        weights: A trained classifier; its backbone serves them all.
        seed: Of every training.
        tell: Receives what the trainings say, a line at a time.

    Raises:
        QualityGateError: A training failed; the others were ended.
    """
    ended: SimpleQueue[_Reader] = SimpleQueue()
    with _start(chapters, weights, seed) as processes:
        for paths, process in zip(chapters, processes, strict=True):
            _Reader(paths, process, tell, ended=ended)
        # As they end: a failure is told at once, not after the trainings that were started before.
        for _ in chapters:
            ended.get().finish()


def compose_command(paths: ChapterPaths, weights: Path, seed: int) -> list[str]:
    """Return the command line of a chapter's training.

    >>> from edgevision.cli.story import CHAPTERS
    >>> paths = ChapterPaths(folder=Path("demo"), chapter=CHAPTERS[1])
    >>> command = compose_command(paths, Path("model.keras"), 0)
    >>> command[2:5], "--no-augment" in command
    (['edgevision', 'train', 'ssd_mobilenet_v1'], True)
    """
    command = [sys.executable, "-m", "edgevision", "train", paths.chapter.network]
    command += ["--data", str(paths.train_data), "--output", str(paths.run)]
    command += ["--alpha", str(ALPHA), "--weights", str(weights), "--seed", str(seed)]
    for name, value in paths.chapter.training.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{option}" if value else f"--no-{option}")
        else:
            command += [f"--{option}", str(value)]
    return command


@contextmanager
def _start(
    chapters: Sequence[ChapterPaths], weights: Path, seed: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start every training; whatever happens, none of them outlives this block."""
    threads = max(1, count_cores() // len(chapters))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
    }
    processes: list[subprocess.Popen[str]] = []
    try:
        for paths in chapters:
            processes.append(
                subprocess.Popen(
                    compose_command(paths, weights, seed),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


class _Reader:
    """Hands on what one training says, keeps its error, and tells when it says no more."""

    def __init__(
        self,
        paths: ChapterPaths,
        process: subprocess.Popen[str],
        tell: Tell,
        *,
        ended: SimpleQueue[_Reader],
    ) -> None:
        self._name, self._process, self._tell = paths.chapter.name, process, tell
        self._ended, self._error = ended, ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the training.

        Raises:
            QualityGateError: It failed.
        """
        self._thread.join()
        if self._process.wait():
            raise QualityGateError(
                f"training the {self._name} failed",
                received=self._error or f"exit code {self._process.returncode}",
            )

    def _read(self) -> None:
        for line in self._process.stderr or ():
            if line.startswith(_NOTE):
                self._tell(f"{self._name}: {line.removeprefix(_NOTE).rstrip()}")
            elif line.startswith(_ERROR):
                self._error = line.removeprefix(_ERROR).rstrip()
        self._ended.put(self)

"""Commands of a sweep that take no time: what children would answer and write is played."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_models import build_classifier

from edgevision.benchmarks.pareto.children import ChildFailedError


class Stage:
    """Answers for the commands of a point.

    Attributes:
        commands: Every command line, in order.
        broken: Networks whose training fails.
    """

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.broken: set[str] = set()

    def run(self, arguments: Sequence[str]) -> Any:
        """Play a command: its document, and the file that it would write."""
        self.commands.append(list(arguments))
        if arguments[0] == "train" and arguments[1] in self.broken:
            raise ChildFailedError("it was killed by SIGKILL")
        if "-o" in arguments:
            output = Path(arguments[arguments.index("-o") + 1])
            output.write_bytes(build_classifier())
        if arguments[0] == "evaluate":
            wide = "mobilenet_v1_0.5" in arguments[1]
            return {"top1": 0.75 if wide else 0.5, "top5": 1.0, "per_class": []}
        return {}

"""Functions that end their process as broken native libraries do; run in child processes only."""

from __future__ import annotations

import os
import signal


def crash(*_arguments: object) -> None:
    """Die of a segmentation fault."""
    os.kill(os.getpid(), signal.SIGSEGV)

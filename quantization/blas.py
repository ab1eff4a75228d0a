"""One thread for NumPy's matrix products while many small ones are made.

OpenBLAS gives every product, however small, to all cores, and its threads wait for each other by
spinning: on a busy machine that doubles the time of a quantization.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def use_single_thread() -> Iterator[None]:
    """Limit OpenBLAS to one thread inside the block; nothing happens with another library."""
    library = _find_library()
    if library is None:
        yield
        return
    get, put = library
    threads = get()
    put(1)
    try:
        yield
    finally:
        put(threads)


@cache
def _find_library() -> tuple[Any, Any] | None:
    """Find the OpenBLAS that NumPy's wheel brings, as functions that get and set its threads."""
    base = Path(np.__file__).parent
    places = (base.with_name("numpy.libs"), base / ".dylibs")
    for path in (p for place in places for p in sorted(place.glob("*openblas*"))):
        try:
            library = ctypes.CDLL(str(path))
            return (
                library.scipy_openblas_get_num_threads64_,
                library.scipy_openblas_set_num_threads64_,
            )
        except (OSError, AttributeError):  # another build: leave its threads alone
            continue
    return None

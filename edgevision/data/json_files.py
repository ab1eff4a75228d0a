"""Annotations in JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgevision.errors import DataError, summarize


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        DataError: It can not be read, is damaged, or holds something else.
    """
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            "the JSON file is damaged",
            received=f"{file}: {summarize(error)}",
            remedy="write it again",
        ) from error
    if not isinstance(values, dict):
        raise DataError(
            "annotations in JSON are an object",
            received=f"{file}: {type(values).__name__}",
        )
    return values

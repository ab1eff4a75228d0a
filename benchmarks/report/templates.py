"""The HTML templates of all reports; they share one style sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgevision.backends import import_backend


def render_template(name: str, **values: Any) -> str:
    """Fill a template of this folder; text is escaped.

    Args:
        name: File name of the template.
        **values: What it shows.

    Raises:
        BackendUnavailableError: jinja2 is missing.
    """
    jinja2 = import_backend("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text: str = environment.get_template(name).render(**values)
    return text

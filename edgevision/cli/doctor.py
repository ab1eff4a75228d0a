"""``edgevision doctor``: what is installed, what is missing and how to get it."""

from __future__ import annotations

from typing import Any

import typer

from edgevision.cli.command import command
from edgevision.cli.terminal import Terminal, create_table

_STYLES = {"ok": "green", "missing": "yellow", "unsupported": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "doctor", panel="Use")(examine)


def examine(terminal: Terminal) -> None:
    """Look for interpreters, delegates and devices, and say how to get what is missing."""
    from edgevision.runtime.doctor import inspect_parts

    parts = [part.to_dict() for part in inspect_parts()]

    def render(console: Any) -> None:
        from rich.text import Text

        table = create_table("part", "status", "version", "remedy", left=(0, 1, 2, 3))
        for part in parts:
            status = Text(part["status"], _STYLES[part["status"]])
            table.add_row(part["name"], status, part["version"], part["remedy"])
        console.print(table)

    terminal.finish({"parts": parts}, render)

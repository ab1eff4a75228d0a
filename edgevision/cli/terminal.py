"""Where a command's words go: results to stdout; progress, notes and warnings to stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from edgevision.specs import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.table import Table


class Terminal:
    """The output of one command.

    Args:
        as_json: One JSON document on stdout and nothing else.
        quiet: No progress, no notes; warnings stay.
        debug: Show what libraries print.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, debug: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.debug = debug

    @cached_property
    def out(self) -> Console:
        """Console on stdout; as wide as its content when it is not a terminal.

        Square brackets are text: file names and labels may hold them.
        """
        from rich.console import Console

        console = Console(highlight=False, markup=False)
        return console if console.is_terminal else Console(highlight=False, markup=False, width=200)

    @cached_property
    def err(self) -> Console:
        """Console on stderr."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell something by the way."""
        if not self.quiet:
            self.err.print(f"note: {text}", style="dim")

    def warn(self, text: str) -> None:
        """Tell something that the user should act on."""
        self.err.print(f"warning: {text}", style="yellow")

    def fail(self, text: str) -> None:
        """Tell which quality gate said no."""
        self.err.print(f"failed: {text}", style="red")

    def finish(self, document: Any, render: Callable[[Console], None]) -> None:
        """Print the result: ``document`` as JSON, or what ``render`` draws for a person."""
        if self.as_json:
            typer.echo(json.dumps(_jsonable(document), indent=2, ensure_ascii=False))
        else:
            render(self.out)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yield a callback ``(stage, done, total)`` that draws one bar per stage on stderr."""
        if self.quiet or not self.err.is_terminal:
            yield lambda _stage, _done, _total: None
            return
        with create_bars(self.err) as bars:
            tasks: dict[str, Any] = {}

            def advance(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield advance


def create_bars(console: Console, *columns: str) -> RichProgress:
    """Return progress bars with counts and the time left.

    Args:
        console: Where they are drawn.
        columns: Further text columns, as Rich formats (``"{task.fields[note]}"``).
    """
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=28),
        progress.MofNCompleteColumn(),
        *(progress.TextColumn(column, markup=False) for column in columns),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
    )


def create_table(*columns: str, title: str = "", left: Sequence[int] = (0,)) -> Table:
    """Return an empty table with numbers to the right.

    Args:
        columns: The headings.
        title: Heading of the whole table.
        left: Indices of the columns that hold text.
    """
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for index, heading in enumerate(columns):
        text = index in left
        table.add_column(
            heading, justify="left" if text else "right", no_wrap=not text, overflow="fold"
        )
    return table


def _jsonable(value: Any) -> Any:
    """Make a value strict JSON: no NaN, no infinities, paths as text."""
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)

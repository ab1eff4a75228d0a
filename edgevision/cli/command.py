"""What every command shares: exit codes, and the options ``--json``, ``--quiet``, ``--debug``."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer

from edgevision.cli.terminal import Terminal
from edgevision.errors import InvalidConfigError

EXIT_DONE, EXIT_GATE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

_SHARED = (
    (
        "json",
        Annotated[
            bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")
        ],
    ),
    ("quiet", Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")]),
    ("debug", Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]),
)


def command(app: typer.Typer, name: str, *, panel: str) -> Callable[[Callable[..., Any]], None]:
    """Register a function whose first parameter is a ``Terminal`` as the command ``name``.

    Args:
        app: Where the command goes.
        name: Its name on the command line.
        panel: The heading under which ``edgevision --help`` lists it.

    Returns:
        A decorator; the function may return an exit code.
    """

    def register(function: Callable[..., Any]) -> None:
        @functools.wraps(function)
        def run(**options: Any) -> Any:
            debug = options.pop("debug")
            _check_finite(options)
            terminal = Terminal(
                as_json=options.pop("json"), quiet=options.pop("quiet"), debug=debug
            )
            return function(terminal, **options)

        hints = get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())[1:]
        parameters = [
            p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in own
        ]
        parameters += [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=a)
            for n, a in _SHARED
        ]
        # Typer reads both the signature and the annotations of what it registers.
        vars(run)["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        vars(run).pop("__wrapped__")
        app.command(name, rich_help_panel=panel)(run)

    return register


def _check_finite(options: Mapping[str, Any]) -> None:
    """Refuse ``nan`` and ``inf``, which are numbers to Python and pass a check of the range."""
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidConfigError(
                "a number is needed",
                received=f"--{name.replace('_', '-')} {value}",
                remedy="nan and inf are none",
            )

"""The application: all commands under one name, and the one place where errors become exit codes.

Exit codes: 0 done, 1 a quality gate said no, 2 bad input or a missing part, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import typer

from edgevision.cli import (
    benchmark,
    choose,
    convert,
    demo,
    diagnose,
    doctor,
    measure,
    networks,
    pareto,
    predict,
    quantize,
    train,
)
from edgevision.cli.command import EXIT_BAD_INPUT, EXIT_DONE, EXIT_GATE, EXIT_INTERRUPTED
from edgevision.errors import EdgeVisionError, InvalidConfigError, QualityGateError

# Typer carries its own Click since 0.26 and used the public package before: reach the base of its
# usage errors through a name that both have.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


# TensorFlow's name for it; by name, since only some commands load TensorFlow.
_MEMORY_ERRORS = ("ResourceExhaustedError",)


def _create_app() -> typer.Typer:
    app = typer.Typer(
        name="edgevision",
        help="Photos in; a small, fast, verified vision model for phones and Raspberry Pis out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def edgevision(
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            from edgevision import __version__

            typer.echo(f"edgevision {__version__}")
            raise typer.Exit

    making = (networks, choose, pareto, train, convert, quantize)
    for group in (*making, measure, diagnose, benchmark, predict, doctor, demo):
        group.register(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: Everything behind the program's name.

    Returns:
        The exit code.
    """
    try:
        _check_given(arguments)
        result = _create_app()(list(arguments), standalone_mode=False, prog_name="edgevision")
        code = result if isinstance(result, int) else EXIT_DONE
    except typer.Exit as stop:
        code = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit) as stop:
        # The reader of our output went away (`edgevision models | head`): nothing is wrong. Rich
        # and Typer make an exit with code 1 of it.
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_DONE
    except Exception as error:  # noqa: BLE001 - the one place where nothing may escape
        code = _report_failure(error, arguments)
    if code == EXIT_INTERRUPTED:
        typer.echo("interrupted", err=True)
    return code


def _check_given(arguments: Sequence[str]) -> None:
    """Refuse empty words: as a path, one means the current folder and all that is in it."""
    if "" in arguments:
        raise InvalidConfigError(
            "an argument is empty",
            received=f"argument {arguments.index('') + 1} of {len(arguments)}",
            remedy="a variable of the shell may not be set",
        )


def _report_failure(error: Exception, arguments: Sequence[str]) -> int:
    """Print one line on stderr, and the same as JSON on stdout where JSON was asked for."""
    if "--debug" in arguments:
        import traceback

        traceback.print_exception(error)
    code = EXIT_GATE if isinstance(error, QualityGateError) else EXIT_BAD_INPUT
    message = " ".join(_describe(error, arguments).split())
    if "--json" in arguments:
        document = {"error": message, "passed": False} if code == EXIT_GATE else {"error": message}
        # Where stdout is what failed, the line on stderr has to do.
        with suppress(OSError):
            typer.echo(json.dumps(document, indent=2))
    typer.echo(f"{'failed' if code == EXIT_GATE else 'error'}: {message}", err=True)
    return code


def _describe(error: Any, arguments: Sequence[str]) -> str:
    """Say what happened and what to do, in one line."""
    if isinstance(error, EdgeVisionError):
        return str(error)
    if isinstance(error, _UsageError):
        command = next((a for a in arguments if not a.startswith("-")), "")
        message = error.format_message().rstrip(".")
        return f"{message}: see edgevision {command} --help".replace("  ", " ")
    if isinstance(error, MemoryError) or type(error).__name__ in _MEMORY_ERRORS:
        return "not enough memory: use a smaller model, image or batch, or fewer threads"
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{place}: check the path, its permissions and the disk"
    hint = "this is a bug in edgevision" + ("" if "--debug" in arguments else ", --debug shows it")
    return f"unexpected {type(error).__name__} ({error}): {hint}"

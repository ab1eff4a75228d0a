"""Options that several commands take, and the parsers of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgevision.errors import InvalidConfigError
from edgevision.specs import Device, ResizeRule, Task

Alpha = Annotated[
    float, typer.Option("--alpha", help="Width multiplier; any number above 0.", metavar="A")
]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size", help="Input height and width in pixels: 224 or 192x256.", metavar="N|HxW"
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        help="Number of classes; 1000 (classify), 90 (detect) or 21 (segment) by default.",
        metavar="N",
    ),
]
Channels = Annotated[int, typer.Option("--channels", help="Input channels.", metavar="N")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads of the interpreter.", metavar="N")
]
OnDevice = Annotated[
    Device,
    typer.Option("--device", help="Where the model runs; never replaced by another in silence."),
]
GpuFloat32 = Annotated[
    bool,
    typer.Option(
        "--gpu-float32", help="On a GPU compute in float32, also where it would take float16."
    ),
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out images that can not be read.")
]
TaskOption = Annotated[
    Task | None, typer.Option("--task", help="What the model answers, where the file says nothing.")
]
LabelsFile = Annotated[
    Path | None, typer.Option("--labels", help="Text file with one class name a line.")
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Subtracted from pixels 0–255: 127.5 or R,G,B.", metavar="X"),
]
Std = Annotated[
    str | None,
    typer.Option("--std", help="Divides what is left: 127.5 or R,G,B.", metavar="X"),
]
Resize = Annotated[
    ResizeRule | None, typer.Option("--resize", help="How an image becomes the input size.")
]
CropFraction = Annotated[
    float | None,
    typer.Option("--crop-fraction", help="Share of the shorter side for --resize crop."),
]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read an input size.

    >>> parse_size("224"), parse_size("192x256"), parse_size(None)
    ((224, 224), (192, 256), None)

    Raises:
        InvalidConfigError: The text is no size.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise InvalidConfigError(
            "an input size is one number or HEIGHTxWIDTH",
            received=f"--input-size {text}",
            remedy="for example --input-size 224 or --input-size 192x256",
        )
    return int(parts[0]), int(parts[-1])


def parse_values(
    text: str | None,
    option: str,
    *,
    rule: str = "expected a number or three separated by commas",
    example: str = "127.5",
) -> tuple[float, ...] | None:
    """Read numbers separated by commas; ``None`` where nothing is given.

    Args:
        text: What was typed.
        option: Name of the option, for the message.
        rule: What the message says that is expected.
        example: A value that would do.

    >>> parse_values("127.5", "--mean"), parse_values("1,2,3", "--std")
    ((127.5,), (1.0, 2.0, 3.0))

    Raises:
        InvalidConfigError: The text holds something else.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidConfigError(
            rule, received=f"{option} {text}", remedy=f"for example {option} {example}"
        ) from error

"""The exception tree: one class per thing that a caller can do about it.

Every message states the rule, what was received and the remedy, in that order.
"""

from __future__ import annotations

_MAX_SUMMARY = 300


class EdgeVisionError(Exception):
    """Base of every error that edgevision raises on purpose.

    Args:
        what: The rule that was broken, without a full stop.
        received: The value or file that broke it.
        remedy: What to do about it.

    >>> str(EdgeVisionError("alpha must be above 0", received="alpha=-1", remedy="try 0.25"))
    'alpha must be above 0 (alpha=-1): try 0.25'
    """

    def __init__(self, what: str, *, received: object = None, remedy: str = "") -> None:
        self.what = what
        self.received = received
        self.remedy = remedy
        message = what if received is None else f"{what} ({received})"
        super().__init__(f"{message}: {remedy}" if remedy else message)


class InvalidConfigError(EdgeVisionError, ValueError):
    """An argument or option is out of range or does not fit the others."""


class InvalidModelError(EdgeVisionError, ValueError):
    """A file is not the model that it claims to be, or is damaged."""


class UnsupportedOpError(EdgeVisionError, ValueError):
    """A model is sound, but holds an operation or a form that this step can not handle."""


class DataError(EdgeVisionError, ValueError):
    """Images, labels or annotations are missing, broken or contradict each other."""


class CalibrationError(EdgeVisionError, ValueError):
    """The calibration set can not give usable activation ranges."""


class MissingFileError(EdgeVisionError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class OutputError(EdgeVisionError, OSError):
    """A result can not be written: no space, no permission, or the place is taken."""


class BackendUnavailableError(EdgeVisionError, ImportError):
    """An optional package is missing.

    Args:
        what: What was asked for.
        extra: Name of the extra that brings it, as in ``pip install edgevision[extra]``.
        received: What was found instead.
    """

    def __init__(self, what: str, *, extra: str, received: object = None) -> None:
        self.extra = extra
        super().__init__(what, received=received, remedy=f"pip install 'edgevision[{extra}]'")


class DelegateError(EdgeVisionError, RuntimeError):
    """A device or delegate that was asked for is missing or failed; nothing else was used instead.

    Args:
        what: What went wrong.
        device: The device that was asked for.
        remedy: How to get it.
    """

    def __init__(self, what: str, *, device: str, remedy: str = "") -> None:
        self.device = device
        super().__init__(what, received=f"device={device}", remedy=remedy)


class QualityGateError(EdgeVisionError, RuntimeError):
    """A result was computed but misses the quality that the caller demanded (exit code 1)."""


def summarize(error: BaseException) -> str:
    r"""Return the first line of what another library says, for ``received``.

    >>> summarize(ValueError("bad header\n  at byte 7")), summarize(KeyError())
    ('bad header', 'KeyError')
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip()[:_MAX_SUMMARY] if lines else type(error).__name__

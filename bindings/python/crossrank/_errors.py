"""Errors: one class for each status of the C library, with its message."""

from __future__ import annotations


class CrossrankError(Exception):
    """What the library said went wrong.

    ``status`` is the C name, such as ``"CR_ERR_MODEL"``; ``line`` and
    ``column`` count from 1 and are 0 where no place in a file applies.
    """

    status = "CR_ERR_INTERNAL"

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class ArgumentError(CrossrankError, ValueError):
    """An argument is out of its limits."""

    status = "CR_ERR_ARGUMENT"


class InputError(CrossrankError, ValueError):
    """A text is not acceptable."""

    status = "CR_ERR_INPUT"


class ModelError(CrossrankError, ValueError):
    """The model's files are missing, corrupt or contradictory."""

    status = "CR_ERR_MODEL"


class UnsupportedModelError(ModelError):
    """A sound model of a kind that is not supported."""

    status = "CR_ERR_UNSUPPORTED"


class UnavailableError(CrossrankError, RuntimeError):
    """Backend, device, dtype or instruction set is not there."""

    status = "CR_ERR_UNAVAILABLE"


class OutOfMemoryError(CrossrankError, MemoryError):
    """An allocation failed."""

    status = "CR_ERR_MEMORY"


class FileError(CrossrankError, OSError):
    """The operating system refused to read."""

    status = "CR_ERR_IO"


BY_STATUS: dict[str, type[CrossrankError]] = {
    kind.status: kind
    for kind in (CrossrankError, ArgumentError, InputError, ModelError,
                 UnsupportedModelError, UnavailableError, OutOfMemoryError,
                 FileError)
}

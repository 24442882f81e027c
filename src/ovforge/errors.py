"""Every error that a user can meet.

An error says what is wrong, where, why probably, and what to do next. `message` is one line that names the
path and the place; `hint` is the next step. The command line prints both without a traceback and ends with
`exit_code`: 2 for bad usage or bad input, 1 for work that failed, 130 for an interrupt.
"""

from __future__ import annotations

from pathlib import Path


class OvforgeError(Exception):
    """Root of all errors that ovforge raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders in runs: rebuild from the attributes, whatever the subclass's signature.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[OvforgeError], message: str, hint: str) -> OvforgeError:
    error = kind.__new__(kind)
    OvforgeError.__init__(error, message, hint=hint)
    return error


class InputError(OvforgeError):
    """Something the user gave cannot be used: a missing file, a bad option, a malformed record."""

    exit_code = 2


class MissingInputError(InputError):
    """A file or folder that a step needs is not there."""

    def __init__(self, path: Path | str, *, what: str, hint: str = "") -> None:
        super().__init__(f"{path}: {what} not found", hint=hint)


class AnnotationFileError(InputError):
    """An annotation file is malformed. Names the file and the byte or the record."""

    def __init__(self, path: Path | str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {problem}", hint=hint)


class ImageError(InputError):
    """An image is missing, cut short, too large to be real, or no image at all."""

    def __init__(self, name: Path | str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{name}: {problem}", hint=hint)


class ArchiveError(InputError):
    """An archive is cut short, is no archive, or has members that may not be unpacked: `..`, links, devices."""

    def __init__(self, path: Path | str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {problem}", hint=hint)


class OutputExistsError(InputError):
    """An output is already there and `overwrite` was not asked for."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"{path}: already exists", hint="give --overwrite to replace it, or --out to write elsewhere")


class MissingExtraError(InputError):
    """A library of an optional extra is not installed."""

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra '{extra}'", hint=f"pip install 'ovforge[{extra}]'")


class PlanMismatchError(InputError):
    """A run is resumed with other options or inputs than it was started with."""


class EmptyResultError(InputError):
    """A step would end with nothing done: no image, no object, no class."""

    def __init__(self, path: Path | str, what: str, which: str = "", *, hint: str = "") -> None:
        super().__init__(f"{path}: there is no {what}{f' {which}' if which else ''}, so the result is empty", hint=hint)


class ShortageError(InputError):
    """A class has fewer exemplars than were asked for."""


class WorkError(OvforgeError):
    """The work itself failed: a shard could not be finished, a file came out wrong."""

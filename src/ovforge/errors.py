"""Every error that a user can meet: what is wrong, where, and what to do next, as fields.

`reason` says what is wrong in words that are the same for others like it, so that errors can be counted by it; `detail`
is this one's own (what a library reported, sizes found); `place` is the file, and where in it. The text is made from
them here and nowhere else, so nobody has to read it back. `remedy` is the next step.

Reasons and remedies name options as the command line does: `--overwrite` for a switch, `--out=PATH` or `--out PATH`
for an option with a value. On the command line they are printed so, without the remedies whose options the command
does not have. `str(error)`, which is what a Python caller sees, says `overwrite=True` and `out=...`. Commands between
backquotes stay as they are in both.

The command line ends with `exit_code`: 2 for bad usage or bad input, 1 for work that failed, 130 for an interrupt.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ovforge.wording import for_command_line, for_python, named_options, printable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Place:
    """Where something is wrong. Only what is known is given."""

    path: str = ""
    """The file or folder; the name of an image where it is read from a store."""
    member: str = ""
    """The member of an archive or store."""
    record: str = ""
    """The record of an annotation file: `annotation number 6`, counted from 1."""
    byte: int | None = None

    def __str__(self) -> str:
        record = (
            f"{self.record or 'byte'} (byte {self.byte:,})" if self.byte is not None and self.record else self.record
        )
        if self.byte is not None and not self.record:
            record = f"byte {self.byte:,}"
        member = f"member {self.member!r}" if self.member else ""
        return ": ".join(part for part in (self.path, member, record) if part)


class OvforgeError(Exception):
    """Root of all errors that ovforge raises on purpose."""

    exit_code = EXIT_FAILED

    def __init__(
        self,
        reason: str,
        *,
        hint: str | Sequence[str] = "",
        place: Place | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.place = place or Place()
        self.remedy = (hint,) if isinstance(hint, str) else tuple(hint)
        """What to do next: one sentence, or alternatives of which each stands for itself."""

    @property
    def message(self) -> str:
        """One line that names the place and the reason, as the command line says it."""
        return for_command_line(self._text())

    @property
    def hint(self) -> str:
        """The next step, as the command line says it; empty where there is none to give."""
        return self.hint_for(None)

    def hint_for(self, options: Collection[str] | None) -> str:
        """The next step for a command with these options (`--out`); None for one with every option."""
        offered = [
            alternative
            for alternative in self.remedy
            if alternative and (len(self.remedy) == 1 or options is None or named_options(alternative) <= set(options))
        ]
        return for_command_line(", or ".join(offered))

    def with_hint(self, hint: str | Sequence[str]) -> OvforgeError:
        """The same error with another next step."""
        return _rebuild(type(self), {**self.__dict__, "remedy": (hint,) if isinstance(hint, str) else tuple(hint)})

    def __str__(self) -> str:
        hint = ", or ".join(filter(None, self.remedy))
        return for_python(f"{self._text()}\n  {hint}" if hint else self._text())

    def _text(self) -> str:
        # A record is the subject of the sentence ("annotation number 6 has no bbox"), a file stands before a colon.
        place = str(self.place)
        detail = f" ({self.detail})" if self.detail else ""
        return printable(f"{place}{' ' if self.place.record else ': ' if place else ''}{self.reason}{detail}")

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders in runs: rebuild from the attributes, whatever the subclass's signature.
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[OvforgeError], attributes: dict[str, Any]) -> OvforgeError:
    error = kind.__new__(kind)
    Exception.__init__(error, attributes["reason"])
    error.__dict__.update(attributes)
    return error


class InputError(OvforgeError):
    """Something the user gave cannot be used: a missing file, a bad option, a malformed record."""

    exit_code = EXIT_USAGE


class MissingInputError(InputError):
    """A file or folder that a step needs is not there."""

    def __init__(self, path: Path | str, *, what: str, hint: str | Sequence[str] = "") -> None:
        super().__init__(f"{what} not found", hint=hint, place=Place(str(path)))


class AnnotationFileError(InputError):
    """An annotation file is malformed. Names the file and the byte or the record."""

    def __init__(
        self,
        path: Path | str,
        reason: str,
        *,
        record: str = "",
        byte: int | None = None,
        detail: str = "",
        hint: str | Sequence[str] = "",
    ) -> None:
        super().__init__(reason, hint=hint, place=Place(str(path), record=record, byte=byte), detail=detail)


class ImageError(InputError):
    """An image is cut short, too large to be real, or no image at all."""

    def __init__(self, name: Path | str, reason: str, *, detail: str = "", hint: str | Sequence[str] = "") -> None:
        super().__init__(reason, hint=hint, place=Place(str(name)), detail=detail)


class MissingImageError(ImageError):
    """An image is not there, in a folder or file of images that is there."""

    def __init__(self, name: Path | str, store: Path | str = "", *, hint: str | Sequence[str] = "") -> None:
        super().__init__(name, "is missing", detail=f"not in {store}" if str(store) else "", hint=hint)


class ArchiveError(InputError):
    """An archive is cut short, is not an archive, or has members that may not be unpacked: `..`, links, devices."""

    def __init__(
        self,
        path: Path | str,
        reason: str,
        *,
        member: str = "",
        detail: str = "",
        byte: int | None = None,
        hint: str | Sequence[str] = "",
    ) -> None:
        super().__init__(reason, hint=hint, place=Place(str(path), member=member, byte=byte), detail=detail)


class OutputExistsError(InputError):
    """An output is already there and `overwrite` was not asked for."""

    def __init__(
        self,
        path: Path | str,
        *,
        hint: str | Sequence[str] = (
            "--overwrite replaces it",
            "--out=PATH writes elsewhere",
        ),
    ) -> None:
        super().__init__("already exists", hint=hint, place=Place(str(path)))


class MissingExtraError(InputError):
    """A library of an optional extra is not installed."""

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra '{extra}'", hint=f"`{pip_line(extra)}`")


class PlanMismatchError(InputError):
    """A run is resumed with other options or inputs than it was started with."""


class DamagedError(InputError):
    """A file is not as it was written: it is cut short, or has other bytes."""


class LostPlanError(InputError):
    """A run's folder has its work, but its plan, `manifest.json`, is gone."""

    def __init__(self, folder: Path | str, *, detail: str = "") -> None:
        super().__init__(
            "manifest.json, the plan of the run, is missing, although its work is there",
            hint="copy the file back from wherever the run was backed up; or give the command that started the run "
            "again, with all its options: if nothing else has changed it writes the same plan; or start over with "
            "--overwrite",
            place=Place(str(folder)),
            detail=detail,
        )


class ShortageError(InputError):
    """A class has fewer exemplars than were asked for."""


class NothingDoneError(InputError):
    """A step came to its end with nothing done: no image, no object, no class was left."""


class WorkError(OvforgeError):
    """The work itself failed: a shard could not be finished, a file came out wrong."""


class StorageError(WorkError):
    """A disk or file system failed. It says nothing about the data, and may well work when it is tried again; where a
    permission is lacking, when that is given."""

    def __init__(self, path: Path | str, error: OSError | str, *, hint: str | Sequence[str] = "") -> None:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
            # Trying again will not help, but neither is the image missing: the work waits for it.
            reason = "may not be read or written: permission denied"
            hint = (
                f"allow it, as with `{shlex.join(['chmod', 'u+rw', str(path)])}` (and u+x for its folders), or ask its "
            )
            hint += "owner; then run the same command again"
            super().__init__(reason, hint=hint, place=Place(str(path)))
            return
        detail = error if isinstance(error, str) else (error.strerror or str(error))
        hint = hint or "see that the disk can be reached and has room, then run the same command again"
        super().__init__("cannot be read or written now", hint=hint, place=Place(str(path)), detail=detail)


def pip_line(extra: str) -> str:
    """The command that installs an extra of ovforge from where this copy of it was installed.

    >>> pip_line("viewer").startswith("pip install ")
    True
    """
    import importlib.metadata
    import json
    import shlex

    requirement = f"ovforge[{extra}]"
    try:
        # PEP 610: a checkout or a wheel file that was installed is named there; nothing for a package index.
        recorded = json.loads(importlib.metadata.distribution("ovforge").read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        recorded = {}
    url = urlsplit(str(recorded.get("url", "")))
    editable = ""
    if url.scheme == "file" and Path(unquote(url.path)).exists():
        requirement = f"{unquote(url.path)}[{extra}]"
        editable = "-e " if recorded.get("dir_info", {}).get("editable") else ""
    elif url.scheme:
        requirement = f"ovforge[{extra}] @ {url.geturl()}"
    return f"pip install {editable}{shlex.quote(requirement)}"

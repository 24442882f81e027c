"""Everything that a step skipped, as a CSV file."""

from __future__ import annotations

import contextlib
import csv
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ovforge.errors import InputError
from ovforge.files.atomic import temporary_path
from ovforge.records.reporting import SkippedItem, list_skipped

COLUMNS = ("outcome", "kind", "reason", "item", "place")


@contextlib.contextmanager
def write_skipped(path: Path | str) -> Iterator[None]:
    """Write everything that steps skip or warn of within the block to a CSV file, line by line.

    The file appears at the end of the block, also when a step fails: then most of all it is of use. An earlier list is
    replaced, so that the command of a run can be given again; any other file is not.

    Raises:
        InputError: the file is something else than such a list, or cannot be written.
    """
    path = Path(path)
    _check(path)
    temporary = temporary_path(path)
    lock = threading.Lock()
    try:
        with _opened(path, temporary) as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)

            def write(item: SkippedItem) -> None:
                with lock:
                    outcome = "warning" if item.kept else "skipped"
                    writer.writerow((outcome, item.kind, item.reason, item.item, item.place))

            try:
                with list_skipped(write):
                    yield
            finally:
                with lock:
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _opened(path: Path, temporary: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names that are not UTF-8 are written with escapes, so that the file can be read by anything.
        return open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror})", hint="name another file with --skipped=FILE"
        ) from error


def _check(path: Path) -> None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(1000)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})", hint="--skipped=FILE names a file") from error
    if head and not head.startswith(",".join(COLUMNS)):
        raise InputError(
            f"{path}: exists and is not a list of skipped items", hint="name another file with --skipped=FILE"
        )

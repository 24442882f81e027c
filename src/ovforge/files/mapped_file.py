"""A file as read-only memory: gigabytes are parsed in place, and only what is touched is loaded."""

from __future__ import annotations

import mmap
from pathlib import Path

from ovforge.errors import AnnotationFileError, MissingInputError


def map_file(path: Path, *, what: str, hint: str = "") -> memoryview:
    """Map `path`, which is `what`, for reading. It stays mapped for as long as the view or a part of it lives.

    Raises:
        MissingInputError: no such file.
        AnnotationFileError: a folder, an empty file, or one that may not be read.
    """
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise MissingInputError(path, what=what, hint=hint) from None
    except ValueError:  # mmap's word for a file without bytes
        raise AnnotationFileError(path, "is empty", hint=hint or "make or download it again") from None
    except OSError as error:
        raise AnnotationFileError(path, "cannot be read", detail=str(error.strerror), hint=hint) from None

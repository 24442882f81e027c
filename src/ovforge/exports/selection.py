"""Which videos are exported: all, or those that a text file lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError, MissingInputError, Place
from ovforge.exports.videos import VideoFile


def selected(file: VideoFile, only: Path | None) -> NDArray[np.int64]:
    """Positions of the videos to export, in the file's order.

    A line of `only` is the file name of one of a video's images, the video's name, or its id; empty lines and those
    that begin with `#` do not count.

    Raises:
        MissingInputError: there is no such file.
        InputError: a line names nothing that is in the pairs JSON, or the file is no text.
    """
    if only is None:
        return np.arange(len(file))
    if not only.is_file():
        raise MissingInputError(only, what="list of what to export")
    known: dict[str, int] = {str(video): position for position, video in enumerate(file.ids.tolist())}
    known |= {name: position for position, name in enumerate(file.names)}
    for position in range(len(file)):
        known |= dict.fromkeys(file.file_names(position), position)
    chosen: set[int] = set()
    try:
        with open(only, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                entry = line.strip()
                if not entry or entry.startswith("#"):
                    continue
                if entry not in known:
                    raise InputError(
                        f"{entry!r} is not an image, name or id of a pair in {file.path}",
                        place=Place(f"{only}: line {number:,}"),
                        hint="a pair that has no object in both frames is in no pairs JSON",
                    )
                chosen.add(known[entry])
    except UnicodeDecodeError as error:
        raise InputError("is not a text file", place=Place(str(only), byte=error.start), detail=error.reason) from error
    return np.array(sorted(chosen), np.int64)

"""The photographs: what they show, where they come from, under which licence, and how they are loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import ImageError, InputError, MissingExtraError, MissingInputError, pip_line


@dataclass(frozen=True)
class License:
    """A licence as the `licenses` table of an annotation file lists it."""

    id: int
    name: str
    url: str


CC0 = License(1, "CC0 1.0 (public domain dedication)", "https://creativecommons.org/publicdomain/zero/1.0/")
PUBLIC_DOMAIN = License(2, "Public domain", "https://creativecommons.org/publicdomain/mark/1.0/")
LICENSES = (CC0, PUBLIC_DOMAIN)


@dataclass(frozen=True)
class Photograph:
    """One photograph of scikit-image's wheel.

    Attributes:
        file: its name in the folder `skimage/data`.
        sha256: of the file's bytes; the polygons hold for these pixels only.
        width, height: in pixels.
        shows: what is on it.
        source: who took it or gave it, as scikit-image's documentation says.
        url: where scikit-image's documentation says it was taken from; empty where it gives no address.
    """

    name: str
    file: str
    sha256: str
    width: int
    height: int
    shows: str
    license: License
    source: str
    url: str = ""


PHOTOGRAPHS: dict[str, Photograph] = {
    photograph.name: photograph
    for photograph in (
        Photograph(
            "astronaut",
            "astronaut.png",
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            512,
            512,
            "astronaut Eileen Collins with a helmet, a flag and a model of the Space Shuttle",
            PUBLIC_DOMAIN,
            "NASA, released into the public domain",
            "https://flic.kr/p/r9qvLn",
        ),
        Photograph(
            "coffee",
            "coffee.png",
            "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            600,
            400,
            "a cup of espresso on a wooden table",
            CC0,
            "Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0 by the photographer",
        ),
        Photograph(
            "chelsea",
            "chelsea.png",
            "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
            451,
            300,
            "Chelsea the cat",
            CC0,
            "Stefan van der Walt; CC0 by the photographer",
        ),
        Photograph(
            "camera",
            "camera.png",
            "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
            512,
            512,
            "a man filming with a camcorder on a tripod",
            CC0,
            "Lav Varshney; CC0 by the photographer",
        ),
        Photograph(
            "rocket",
            "rocket.jpg",
            "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
            640,
            427,
            "a Falcon 9 between the lightning towers of its launch pad",
            PUBLIC_DOMAIN,
            "SpaceX, released into the public domain",
            "https://www.flickr.com/photos/spacexphotos/16511594820/",
        ),
        Photograph(
            "clock",
            "clock_motion.png",
            "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
            400,
            300,
            "a wall clock, blurred by the moving camera",
            PUBLIC_DOMAIN,
            "Stefan van der Walt, released into the public domain by the photographer",
        ),
    )
}


def photograph_folder() -> Path:
    """The folder of scikit-image's photographs, found without importing it (an import takes longer than all the rest).

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("sample", needed_for="sample-data (its photographs come with scikit-image)")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def load(photograph: Photograph, folder: Path) -> NDArray[np.uint8]:
    """The photograph's pixels: (height, width, 3) BGR, or (height, width) where it is grey.

    Raises:
        MissingInputError: the wheel lacks the file.
        InputError: it cannot be read, or is another file than the one that the polygons were drawn on.
        ImageError: it cannot be decoded.
    """
    path = folder / photograph.file
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingInputError(
            path, what="photograph", hint=f"install scikit-image from its wheel: `{pip_line('sample')}`"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error})", hint="install scikit-image again"
        ) from error
    if hashlib.sha256(data).hexdigest() != photograph.sha256:
        raise InputError(
            f"{path}: not the photograph that the polygons were drawn on",
            hint="scikit-image 0.22 and 0.26 carry it: `pip install --force-reinstall scikit-image`",
        )
    pixels = cv2.imdecode(np.frombuffer(_without_colour_profile(data), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (photograph.height, photograph.width):
        raise ImageError(path, "cannot be decoded")
    return np.asarray(pixels, np.uint8)


def _without_colour_profile(data: bytes) -> bytes:
    """A PNG file without its `iCCP` chunk: libpng writes a warning about one of them to stderr and ignores it."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunk = data[at : at + 12 + length]
        if chunk[4:8] != b"iCCP":
            kept.append(chunk)
        at += len(chunk)
    return b"".join(kept)

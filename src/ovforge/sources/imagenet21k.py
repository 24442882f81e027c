"""ImageNet-21K as users have it: train/val/small classes, one flat folder, or class tars that nobody unpacked.

All layouts are the same to a reader: classes by ImageNet id, and images by names relative to the root,
`train/n02084071/n02084071_1.JPEG` or `n02084071/n02084071_1.JPEG`. The parts may have the names that the official
archives give them, and lie in one folder below the root, as `imagenet21k_resized.tar.gz` unpacks. Wherever a class's
folder may stand, its tar may stand too (`train/n02084071.tar`), with the same names. Symbolic links are followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError, StorageError
from ovforge.image_io.header import read_size_of_file
from ovforge.image_io.read_file import exists, is_folder, read_image_file, why_no_file
from ovforge.image_io.store import is_plain_name
from ovforge.image_io.tar_store import TarStore
from ovforge.records.json_errors import JSON_ERRORS

TRAIN, VAL, SMALL = "train", "val", "imagenet21k_small_classes"
PARTS = (TRAIN, VAL, SMALL)
"""The parts of ImageNet-21K-P, in the order in which their images are listed."""

PART_OF_FOLDER = {TRAIN: TRAIN, VAL: VAL, SMALL: SMALL, "imagenet21k_train": TRAIN, "imagenet21k_val": VAL}
"""The folder names of the parts in every release: of the processing document, and of imagenet21k_resized.tar.gz."""
STATE = ".prepare"
"""The folder in a tree in which `imagenet prepare` remembers what is done."""
REPORT = "prepare_report.json"
"""The file in a tree that says that `imagenet prepare` came to its end; written last, removed when it starts again."""

_FLAT = ""

WNID = re.compile(r"n\d{8}")


class PrepareReport(msgspec.Struct, frozen=True):
    """What `imagenet prepare` has come to."""

    images: dict[str, int] = {}
    """Part -> images in it."""
    classes: int = 0
    failed: list[tuple[str, str]] = []
    """(ImageNet id, problem) of every class that could not be prepared."""
    left_out: list[tuple[str, str]] = []
    """(class/file, reason) of every file that is not in the tree."""
    complete: bool = True
    """Whether all classes are in the tree."""


def why_unfinished(tree: Path) -> str:
    """Why a tree that `imagenet prepare` has made is not whole; empty where it is, or where others have made it."""
    if not exists(tree / STATE):
        return ""
    try:
        report = msgspec.json.decode((tree / REPORT).read_bytes(), type=PrepareReport)
    except FileNotFoundError:
        return "is unfinished: `ovforge imagenet prepare` was stopped, or is at work; the same command resumes it"
    except (OSError, *JSON_ERRORS) as error:
        return f"is unfinished: {REPORT} cannot be read ({error})"
    if report.failed:
        named = ", ".join(wnid for wnid, _ in report.failed[:3]) + (", ..." if len(report.failed) > 3 else "")
        count = "1 class" if len(report.failed) == 1 else f"{len(report.failed):,} classes"
        return f"is unfinished: {count} could not be prepared ({named}); {REPORT} says why"
    return "" if report.complete else "is unfinished: it holds no image"


@dataclass(frozen=True)
class ClassPlace:
    """Where one class lies in one part."""

    part: str
    """`train`, `val`, `imagenet21k_small_classes`, or empty in the flat layout."""
    prefix: str
    """What stands before the file name in the names of its images: `train/n02084071/`."""
    is_tar: bool


class ImageNet21k:
    """An ImageNet-21K tree, opened by reading the names in its part folders; also an image store."""

    def __init__(self, path: Path) -> None:
        """Look at what is in `path`.

        Raises:
            MissingInputError: there is no folder at `path`.
            InputError: the folder has neither parts nor classes in it.
            StorageError: it cannot be listed.
        """
        self.path = Path(path)
        if not exists(self.path) or not self.path.is_dir():
            raise MissingInputError(self.path, what="ImageNet-21K folder", hint=_WHERE)
        self.unrecognised: list[str] = []
        """Entries that are not classes, relative to the root, sorted: a README.txt, say."""
        self.odd_files: dict[str, str] = {}
        """Of the classes that were listed: names of what is not a plain file -> what it is, such as a dead link."""
        self.repeated: set[str] = set()
        """Of the class tars that were listed: names of images that are in their tar more than once."""
        self._tars: dict[str, TarStore] = {}
        self._places: dict[str, list[ClassPlace]] = {}
        try:
            inner, parts = _find_parts(self.path)
            for part in PARTS if parts else (_FLAT,):
                for folder in parts.get(part, ()) if parts else (inner,):
                    self._look_into(part, folder)
        except OSError as error:
            raise StorageError(error.filename or self.path, error) from error
        self.layout = "parts" if parts else "flat"
        self.unfinished = why_unfinished(self.path)
        """Why the tree is not whole; empty where it is (see `why_unfinished`)."""
        self.unrecognised.sort()
        if not self._places and not parts:
            raise InputError(f"{self.path}: neither train, val and {SMALL} nor n* folders or tars in it", hint=_WHERE)

    def __enter__(self) -> ImageNet21k:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the tars that are open; they open again when they are used again."""
        for tars in self._tars.values():
            tars.close()

    def classes(self) -> list[str]:
        """The ImageNet ids of all classes that have a folder or a tar, sorted."""
        return sorted(self._places)

    def places(self, wnid: str) -> Sequence[ClassPlace]:
        """Where `wnid` lies: train, then val, then the small classes; empty where it lies nowhere."""
        return self._places.get(wnid, ())

    def images(self, wnid: str, *, parts: Sequence[str] | None = None) -> list[str]:
        """The names of all files of a class, part after part, sorted by file name in each.

        What is not an image is in the list as well; reading its size tells, and `odd_files` has what is not a file.
        Folders, hidden files and temporary files are skipped.

        Args:
            wnid: the class's ImageNet id.
            parts: only these; the flat layout has no parts and gives everything.

        Raises:
            ArchiveError: a class tar is broken or has members that are refused.
            StorageError: a class folder or tar cannot be read.
        """
        names: list[str] = []
        for place in self.places(wnid):
            if parts is None or place.part in (_FLAT, *parts):
                names += [place.prefix + file for file in self._files(place, wnid)]
        return names

    def names(self) -> list[str]:
        """The names of all files of all classes, sorted."""
        return sorted(name for wnid in self._places for name in self.images(wnid))

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        tars, inner = self._split(name)
        return inner in tars if tars is not None else is_plain_path(name) and exists(self.path / name)

    def read(self, name: str) -> bytes:
        """The bytes of one image.

        Raises:
            MissingImageError: there is no such image.
            ImageError: it is not a plain file; names it.
            StorageError: the disk or network file system failed.
        """
        tars, inner = self._split(name)
        if tars is not None:
            return tars.read(inner)
        if not is_plain_path(name):
            raise ImageError(repr(name), "is not a path inside the tree", detail=str(self.path))
        try:
            return read_image_file(f"{self.path}/{name}", f"{self.path}/{name}")
        except StorageError:
            self._check_folder(name)
            raise

    def read_size(self, name: str) -> tuple[int, int]:
        """Width and height of one image from its header, turned by its EXIF orientation.

        Raises:
            MissingImageError: there is no such image.
            ImageError: it is none, or cut short; names it.
            StorageError: the disk or network file system failed.
        """
        tars, inner = self._split(name)
        if tars is not None:
            return tars.read_size(inner)
        try:
            return read_size_of_file(f"{self.path}/{name}")
        except StorageError:
            self._check_folder(name)
            raise

    def _check_folder(self, name: str) -> None:
        """A folder that was there when the tree was opened, and is not now, is away; any other never was there."""
        folder = name.rpartition("/")[0]
        known = any(place.prefix == f"{folder}/" for place in self.places(folder.rpartition("/")[2]))
        if not known and exists(self.path) and not exists(f"{self.path}/{folder}"):
            raise MissingImageError(f"{self.path}/{name}")

    def _look_into(self, part: str, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        with os.scandir(self.path / folder) as entries:
            found = {entry.name: is_folder(entry) for entry in sorted(entries, key=lambda entry: entry.name)}
        for name, folder_here in found.items():
            wnid = name.removesuffix(".tar")
            is_tar = wnid != name
            # Of a folder and a tar of the same class in the same place, the folder is taken.
            if not WNID.fullmatch(wnid) or folder_here == is_tar or (is_tar and found.get(wnid)):
                self.unrecognised.append(prefix + name)
                continue
            if is_tar and prefix not in self._tars:
                self._tars[prefix] = TarStore(self.path / folder)
            self._places.setdefault(wnid, []).append(ClassPlace(part, f"{prefix}{wnid}/", is_tar))

    def _files(self, place: ClassPlace, wnid: str) -> list[str]:
        if place.is_tar:
            tars = self._tars[place.prefix.removesuffix(f"{wnid}/")]
            files = list(tars.members(wnid))
            self.repeated |= {place.prefix + file for file in tars.repeated(wnid)}
        else:
            folder = self.path / place.prefix
            files = []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if is_folder(entry):
                            continue
                        files.append(entry.name)
                        if problem := why_no_file(entry):
                            self.odd_files[place.prefix + entry.name] = problem
            except OSError as error:
                raise StorageError(folder, error) from error
        return sorted(file for file in files if not file.startswith("."))

    def _split(self, name: str) -> tuple[TarStore | None, str]:
        """The tars that `name` lies in, and its name there; None for a file in a folder."""
        folder, _, file = name.rpartition("/")
        prefix, wnid = folder[: -len(folder.rpartition("/")[2])], folder.rpartition("/")[2]
        tars = self._tars.get(prefix)
        if tars is None or not any(p.is_tar and p.prefix == f"{folder}/" for p in self.places(wnid)):
            return None, name
        return tars, f"{wnid}/{file}"


def _find_parts(root: Path) -> tuple[str, dict[str, list[str]]]:
    """The folder right above the classes or parts, relative to `root` ("" mostly), and part -> its folders."""
    for inner in ("", *_single_folder(root)):
        with os.scandir(root / inner) as entries:
            folders = sorted(entry.name for entry in entries if is_folder(entry))
        parts: dict[str, list[str]] = {}
        for folder in folders:
            if folder in PART_OF_FOLDER:
                parts.setdefault(PART_OF_FOLDER[folder], []).append(f"{inner}/{folder}" if inner else folder)
        if parts:
            return inner, parts
        with os.scandir(root / inner) as entries:
            if any(WNID.fullmatch(entry.name.removesuffix(".tar")) for entry in entries):
                return inner, {}
    return "", {}


def _single_folder(root: Path) -> list[str]:
    """The one folder in `root`, as an archive that was unpacked there leaves it."""
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if not entry.name.startswith(".") and is_folder(entry)]
    return folders if len(folders) == 1 else []


RELEASES = ("imagenet21k_P", "imagenet22k", "imagenet21k", "imagenet21k_resized", "winter21_whole", "fall11_whole")
"""The names under which people keep a tree in their folder of ImageNet."""


def find_tree(folder: Path | None) -> Path | None:
    """The tree in `folder`: in one of RELEASES below it that holds classes, else `folder` itself; None where is none.

    Raises:
        StorageError: the disk or network file system failed.
    """
    if folder is None or not exists(folder) or not folder.is_dir():
        return None
    for tree in (*(folder / name for name in RELEASES), folder):
        if not exists(tree) or not tree.is_dir():
            continue
        try:
            inner, parts = _find_parts(tree)
            with os.scandir(tree / inner) as entries:
                here = any(WNID.fullmatch(entry.name.removesuffix(".tar")) for entry in entries)
        except OSError as error:
            raise StorageError(error.filename or tree, error) from error
        if parts or here:
            return tree
    return None


def is_plain_path(name: str) -> bool:
    """Whether `name` is a relative path that stays inside its folder."""
    return all(is_plain_name(part) for part in name.split("/"))


_WHERE = (
    "link an existing copy there (`ln -s`), or make one with `ovforge imagenet prepare`; "
    "ImageNet-21K comes from https://image-net.org/download-images after registration"
)

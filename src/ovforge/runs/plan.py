"""The plan of a run: what is to be done, cut into shards, frozen in `manifest.json` when the run starts.

A resume with other options, inputs, versions or seed would mix two results in one output, so it is refused with
every difference named.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ovforge.errors import InputError, MissingInputError, OutputExistsError, PlanMismatchError
from ovforge.files.atomic import write_bytes
from ovforge.runs.task import Shard

MANIFEST = "manifest.json"
WHOLE_UP_TO = 4 << 30
"""Files up to this many bytes are hashed whole; larger ones in SPREAD_BLOCKS blocks."""
SPREAD_BLOCKS = 256
_BLOCK = 1 << 20


class InputFile(msgspec.Struct, frozen=True):
    """An input of a run. Two are the same if size and hash are: files may be moved between start and resume."""

    path: str
    size: int
    """Bytes; for a listing, the number of names."""
    sha256: str
    method: str = "whole file"
    """What the hash covers: `whole file`, `256 spread blocks`, `names`."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does: `items` things, in shards of at most `shard_size`.

    Attributes:
        task: the task's name, `pairs`.
        items: how many items there are; which ones follows from inputs and options.
        groups: sizes of consecutive groups of items, summing up to `items`; no shard reaches over two groups
            (a group becomes one output, as a partition). Empty: one group.
        options: whatever changes the result, as JSON values; not the number of workers.
        inputs: role -> file, `{"annotations": input_file(path)}`.
        versions: library -> version, of those whose release may change the result.
    """

    task: str
    items: int
    shard_size: int
    groups: tuple[int, ...] = ()
    seed: int = 0
    options: dict[str, Any] = {}
    inputs: dict[str, InputFile] = {}
    versions: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.items < 0 or self.shard_size < 1:
            raise InputError(f"a plan of {self.items} items in shards of {self.shard_size} cannot be run")
        if self.groups and (min(self.groups) < 0 or sum(self.groups) != self.items):
            raise InputError(f"the plan's groups hold {sum(self.groups)} items, the plan {self.items}")

    def shards(self) -> list[Shard]:
        """All shards, numbered from 0 in the order of the items."""
        return [shard for group in self.shards_by_group() for shard in group]

    def shards_by_group(self) -> list[list[Shard]]:
        """The shards of each group; a group without items has none."""
        result: list[list[Shard]] = []
        index = first = 0
        for size in self.groups or (self.items,):
            stop = first + size
            starts = range(first, stop, self.shard_size)
            result.append(
                [Shard(index + i, start, min(start + self.shard_size, stop)) for i, start in enumerate(starts)]
            )
            index += len(starts)
            first = stop
        return result


def input_file(path: Path) -> InputFile:
    """Describe an input by its size and SHA-256.

    A file above 4 GiB (an image store) is hashed in 256 blocks of 1 MiB spread evenly from its first byte to its
    last, so that the start of a run does not read it all; its `method` says so.

    Raises:
        MissingInputError: `path` is not a file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(path, what="file")
    size = path.stat().st_size
    if size <= WHOLE_UP_TO:
        return InputFile(str(path), size, file_sha256(path))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in range(SPREAD_BLOCKS):
            file.seek((size - _BLOCK) * block // (SPREAD_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return InputFile(str(path), size, digest.hexdigest(), method=f"{SPREAD_BLOCKS} spread blocks")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def input_names(path: Path, names: Iterable[str]) -> InputFile:
    """Describe a folder of images by the names that a run takes from it, in order; their bytes are not read."""
    digest, count = hashlib.sha256(), 0
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        count += 1
    return InputFile(str(path), count, digest.hexdigest(), method="names")


class _Manifest(msgspec.Struct, frozen=True):
    format: str
    plan: Plan


_FORMAT = "ovforge run 1"


def freeze(plan: Plan, folder: Path) -> str:
    """Write the plan into `folder`, or check that it equals the one there; the manifest's hash, which names the run.

    Any number of processes may do so at once: one writes the file, the others find it.

    Raises:
        PlanMismatchError: the folder holds a run with another plan; names each difference.
    """
    path = folder / MANIFEST
    if not path.exists():
        data = msgspec.json.encode(_Manifest(_FORMAT, plan), order="deterministic")
        with contextlib.suppress(OutputExistsError):  # another process was faster
            write_bytes(path, msgspec.json.format(data) + b"\n")
    frozen, plan_id = load_plan(folder)
    differences = list(_differences(frozen, plan))
    if differences:
        raise PlanMismatchError(
            f"{path}: the run there was started differently: {'; '.join(differences)}",
            hint="go on with the run's own options and inputs, or give --overwrite to throw it away, "
            "or choose another name",
        )
    return plan_id


def load_plan(folder: Path) -> tuple[Plan, str]:
    """The plan frozen in `folder`, and the manifest's hash.

    Raises:
        MissingInputError: there is no run in `folder`.
        InputError: the manifest is not one of ours.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingInputError(path, what="a run", hint="check the name and the folder of the run") from None
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{path}: not the manifest of a run ({error})", hint="give --overwrite to start the run anew"
        ) from None
    if manifest.format != _FORMAT:
        raise InputError(
            f"{path}: written in the format '{manifest.format}', this release knows '{_FORMAT}'",
            hint="go on with the release that started the run, or give --overwrite to start anew",
        )
    return manifest.plan, hashlib.sha256(data).hexdigest()[:16]


def _differences(frozen: Plan, now: Plan) -> Iterator[str]:
    for name in ("task", "items", "groups", "shard_size", "seed"):
        yield from _compare(f"option {name}", getattr(frozen, name), getattr(now, name))
    # Through JSON, as the frozen ones were: tuples are lists there.
    yield from _compare("option", frozen.options, msgspec.json.decode(msgspec.json.encode(now.options)))
    for role in _all_keys(frozen.inputs, now.inputs):
        before, after = frozen.inputs.get(role), now.inputs.get(role)
        if before is None or after is None:
            yield f"input {role}: {_path(before)} in the run, {_path(after)} now"
        elif (before.size, before.sha256, before.method) != (after.size, after.sha256, after.method):
            yield f"input {role}: {_content(before)} in the run, {_content(after)} now"
    yield from _compare("version", frozen.versions, now.versions)


def _compare(name: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        separator = " " if name in ("option", "version") else "."
        for key in _all_keys(before, after):
            yield from _compare(f"{name}{separator}{key}", before.get(key, "not set"), after.get(key, "not set"))
    elif before != after:
        yield f"{name}: {_short(before)} in the run, {_short(after)} now"


def _all_keys(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*before, *after]))


def _short(value: Any) -> str:
    text = str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path(file: InputFile | None) -> str:
    return "none" if file is None else file.path


def _content(file: InputFile) -> str:
    unit = "names" if file.method == "names" else "bytes"
    return f"{file.path} ({file.size:,} {unit}, sha256 {file.sha256[:12]})"

"""The plan of a run: what is to be done, cut into shards, frozen in `manifest.json` when the run starts.

A resume with other options, inputs, versions or seed would mix two results in one output, so it is refused with
every difference named. Inputs are known by their content; their paths are only hints of where they were last seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ovforge.errors import InputError, LostPlanError, MissingInputError, OutputExistsError, PlanMismatchError
from ovforge.files.atomic import write_bytes
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.run_layout import CORRECTIONS, MANIFEST, has_lost_plan
from ovforge.runs.task import Shard

WHOLE_UP_TO = 4 << 30
"""Files up to this many bytes are hashed whole; larger ones in SPREAD_BLOCKS blocks."""
SPREAD_BLOCKS = 256
_BLOCK = 1 << 20


class InputFile(msgspec.Struct, frozen=True):
    """An input of a run. Two are the same if their content is: files may be moved between start and resume."""

    path: str
    """Absolute; where it was when the run was started."""
    size: int
    """Bytes; for a listing, the number of names."""
    sha256: str
    method: str = "whole file"
    """What the hash covers: `whole file`, `256 spread blocks`, `names`."""
    sample: dict[str, str] = {}
    """Of a listing: some names -> their content's size and CRC-32. Two listings are compared by the names that both
    have sampled, so that an image which was missing at one of the times makes no difference."""


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
        not_compared: options that are only hints, as `engine.model`, the path of a model that is known by its hashes.
        folder: the run's folder when it was started, absolute; a hint of where inputs have moved to with it.
    """

    task: str
    items: int
    shard_size: int
    groups: tuple[int, ...] = ()
    seed: int = 0
    options: dict[str, Any] = {}
    inputs: dict[str, InputFile] = {}
    versions: dict[str, str] = {}
    not_compared: tuple[str, ...] = ()
    folder: str = ""

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
        return InputFile(str(path.absolute()), size, file_sha256(path))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in range(SPREAD_BLOCKS):
            file.seek((size - _BLOCK) * block // (SPREAD_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return InputFile(str(path.absolute()), size, digest.hexdigest(), method=f"{SPREAD_BLOCKS} spread blocks")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def input_names(path: Path, names: Iterable[str], sample: dict[str, str] | None = None) -> InputFile:
    """Describe a store of images by the names that a run takes from it, in order, and by a sample of their content."""
    digest, count = hashlib.sha256(), 0
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        count += 1
    return InputFile(str(path.absolute()), count, digest.hexdigest(), method="names", sample=sample or {})


def find_input(
    plan: Plan, role: str, run_folder: Path, *, given: Path | None = None, default: Path | None = None
) -> Path:
    """Where an input of a run is now: as given, or at one of its possible places.

    The first place wins where something of the noted size is; the content is the caller's to compare.

    Raises:
        MissingInputError: it is at none of these places; names them.
    """
    if given is not None:
        if not given.exists():
            raise MissingInputError(given, what=f"the run's {role}")
        return given
    noted = plan.inputs[role]
    places = possible_places(plan, noted.path, run_folder, default)
    there = [place for place in places if place.exists()]
    for place in there:
        if place.is_dir() or noted.method == "names" or place.stat().st_size == noted.size:
            return place
    if there:
        return there[0]
    raise MissingInputError(
        " or ".join(map(str, places)),
        what=f"the run's {role}",
        hint=f"it has moved, or was on another machine: say where it is now with --{role}=PATH",
    )


class _Manifest(msgspec.Struct, frozen=True):
    format: str
    plan: Plan


_FORMAT = "ovforge run 1"


def possible_places(plan: Plan, noted: str, run_folder: Path, default: Path | None = None) -> list[Path]:
    """Where something may be that was at `noted` when a run was started: there, where it went with the run's folder, or
    at the default place; each once."""
    places = [Path(noted)]
    if plan.folder:
        places.append(Path(os.path.normpath(run_folder.absolute() / os.path.relpath(noted, plan.folder))))
    if default is not None:
        places.append(default)
    return list(dict.fromkeys(places))


def freeze(
    plan: Plan, folder: Path, *, accept_versions: Collection[str] = (), names: Mapping[str, str] | None = None
) -> str:
    """Write the plan into `folder`, or check that it equals the one there; the manifest's hash, which names the run.

    Any number of processes may do so at once: one writes the file, the others find it.

    Args:
        accept_versions: libraries whose version may differ from the run's.
        names: what the user calls the plan's entries (see `differences`).

    Raises:
        PlanMismatchError: the folder holds a run with another plan; names each difference.
    """
    path = folder / MANIFEST
    if not path.exists():
        with contextlib.suppress(OutputExistsError):  # another process was faster
            write_bytes(path, _encoded(plan, folder))
    frozen, plan_id = load_plan(folder)
    found = differences(frozen, plan, accept_versions=accept_versions, names=names)
    if found:
        versions = [text.split()[1].rstrip(":").rpartition(".")[2] for text in found if "version" in text.split(":")[0]]
        if len(versions) == len(found):
            hint = (
                "install the run's own versions, or accept the difference with "
                f"{' '.join(f'--accept-version={name}' for name in versions)}: images made from now on may then differ "
                "in their last bits from those that are done; --overwrite throws the run away"
            )
        else:
            hint = (
                "resume with the run's own options and inputs (leave out an option to take the run's), "
                "or give --overwrite to throw the run away, or choose another name"
            )
        raise PlanMismatchError(f"{path}: the run there was started differently: {'; '.join(found)}", hint=hint)
    return plan_id


def id_of(plan: Plan, folder: Path) -> str:
    """The hash that names a run of `plan` in `folder`."""
    return _hash(_encoded(plan, folder))


def _encoded(plan: Plan, folder: Path) -> bytes:
    plan_here = msgspec.structs.replace(plan, folder=str(folder.absolute()))
    return msgspec.json.format(msgspec.json.encode(_Manifest(_FORMAT, plan_here), order="deterministic")) + b"\n"


def _hash(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:16]


class _Corrections(msgspec.Struct, frozen=True):
    format: str
    inputs: dict[str, InputFile]


def write_corrections(folder: Path, inputs: dict[str, InputFile]) -> None:
    """Let `inputs` stand in the place of the manifest's from now on. What is done stays done."""
    data = msgspec.json.format(msgspec.json.encode(_Corrections("ovforge corrections 1", inputs)))
    write_bytes(folder / CORRECTIONS, data + b"\n", overwrite=True)


def load_plan(folder: Path) -> tuple[Plan, str]:
    """The plan frozen in `folder`, and the manifest's hash.

    Raises:
        MissingInputError: there is no run in `folder`.
        LostPlanError: there is one, but its manifest is gone.
        InputError: the manifest is not one that ovforge wrote.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if has_lost_plan(folder):
            raise LostPlanError(folder) from None
        raise MissingInputError(path, what="a run", hint="check the name and the folder of the run") from None
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except JSON_ERRORS as error:
        raise InputError(
            f"{path}: not the manifest of a run ({error})",
            hint="copy it back from a backup, or move it away and give the command that started the run, with all its "
            "options: it writes the same manifest again and resumes; --overwrite starts the run over",
        ) from None
    if manifest.format != _FORMAT:
        raise InputError(
            f"{path}: written in the format '{manifest.format}', this release knows '{_FORMAT}'",
            hint="use the release that started the run, or give --overwrite to start over",
        )
    plan = msgspec.structs.replace(manifest.plan, inputs={**manifest.plan.inputs, **_corrected_inputs(folder)})
    return plan, _hash(data)


def plan_if_any(folder: Path) -> Plan | None:
    """The plan frozen in `folder`; None if nothing there is of a run of ovforge.

    Raises:
        LostPlanError: there is such a run, but its manifest is gone.
        InputError: the manifest is not one that ovforge wrote.
    """
    return load_plan(folder)[0] if (folder / MANIFEST).is_file() or has_lost_plan(folder) else None


def _corrected_inputs(folder: Path) -> dict[str, InputFile]:
    path = folder / CORRECTIONS
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Corrections).inputs
    except FileNotFoundError:
        return {}
    except JSON_ERRORS as error:
        raise InputError(
            f"{path}: cannot be read ({error})", hint="remove it: the manifest's inputs count then"
        ) from None


def differences(
    frozen: Plan, now: Plan, *, accept_versions: Collection[str] = (), names: Mapping[str, str] | None = None
) -> list[str]:
    """What is different in `now`, one line for each; hints and accepted versions do not count.

    Args:
        names: what the user calls an entry of the plan: `{"groups": "--partitions", "engine.steps": "--steps"}`. Others
            are called as in the manifest.
    """
    return list(_differences(frozen, now, accept_versions, names or {}))


def _differences(frozen: Plan, now: Plan, accepted: Collection[str], names: Mapping[str, str]) -> Iterator[str]:
    def called(name: str) -> str:
        own = names.get(name) or f"option {name}"
        return f"`{own}`" if own.startswith("--") else own

    for name in ("task", "items", "shard_size", "seed"):
        yield from _compare(called(name), getattr(frozen, name), getattr(now, name))
    if len(frozen.groups or "1") != len(now.groups or "1"):
        yield from _compare(called("groups"), len(frozen.groups or "1"), len(now.groups or "1"))
    elif frozen.items == now.items:
        yield from _compare(called("groups"), frozen.groups, now.groups)
    # Through JSON, as the frozen ones were: tuples are lists there.
    options = msgspec.json.decode(msgspec.json.encode(now.options))
    hints = {*frozen.not_compared, *now.not_compared}
    for text in _compare("option", frozen.options, options):
        name, _, values = text.removeprefix("option ").partition(":")
        is_version = ".versions." in name and name.rpartition(".")[2] in accepted
        if name not in hints and not is_version:
            yield f"{called(name)}:{values}"
    for role in _all_keys(frozen.inputs, now.inputs):
        yield from _compare_inputs(role, frozen.inputs.get(role), now.inputs.get(role))
    for text in _compare("version", frozen.versions, now.versions):
        if text.partition(":")[0].removeprefix("version ") not in accepted:
            yield text


def _compare_inputs(role: str, before: InputFile | None, after: InputFile | None) -> Iterator[str]:
    if before is None or after is None:
        yield f"input {role}: {_path(before)} in the run, {_path(after)} now"
    elif (before.size, before.sha256, before.method) != (after.size, after.sha256, after.method):
        yield f"input {role}: {_content(before)} in the run, {_content(after)} now"
    else:
        both = before.sample.keys() & after.sample.keys()
        changed = [name for name in both if before.sample[name] != after.sample[name]]
        if changed:
            yield (
                f"input {role}: {min(changed)} in {after.path} is another image than in the run "
                f"({len(changed)} of {len(both)} that were compared)"
            )


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

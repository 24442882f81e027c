"""Where the parts of a run lie and how its files are called: the one list, for all who write or read them.

A run has a folder. In it lie the frozen plan (`manifest.json`), what is done (`ledger/`), finished shards
(`shards/`), failed shards (`failed/`), who is at work (`running/`), and a pairs run's partitions. The merged files
lie beside the folder. A partition's file names start with the run's name at the time of publishing, so that a folder
that was renamed or copied still holds its run: its partitions are found under whatever name they have.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import msgspec

from ovforge.errors import InputError, MissingInputError
from ovforge.options.layout import PAIRS_DIR
from ovforge.options.pairs import PAIR_FRAMES
from ovforge.records.reporting import shell_command

MANIFEST = "manifest.json"
CORRECTIONS = "corrections.json"
"""Inputs that have taken the place of the manifest's: an annotation file corrected after the run was started."""
SHARDS, LEDGER, FAILED, RUNNING = "shards", "ledger", "failed", "running"
WRITTEN_FOLDERS = ("", SHARDS, LEDGER, FAILED, RUNNING)
"""Where a run writes, relative to its folder."""
REPLAY = "replay"
"""Where `pairs replay` writes, relative to the run's folder."""

RECORDS = "__records__"
"""The data set of a shard file that holds the JSON list of its `PairRecord`s."""

_PARTITION = re.compile(r"(?P<stem>.+)_total_p_(?P<total>\d+)_split_(?P<index>\d+)\.(?:h5|pkl|pairs\.json)")
_FRAME = re.compile(r"(?P<clip>.+_v0_f)(?P<frame>\d{3})\.jpg", re.DOTALL)
_SHOWN = 10


class PartitionFiles(msgspec.Struct, frozen=True):
    """The three files of a partition, or of a merged run."""

    h5: Path
    pkl: Path
    pairs: Path

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """All three, in the order in which they are published."""
        return self.h5, self.pkl, self.pairs

    @property
    def missing(self) -> list[Path]:
        """Those that are not there."""
        return [path for path in self.paths if not path.is_file()]

    @property
    def are_there(self) -> bool:
        """Whether all three are there; whether they are whole is `synthesis.partitions.partition_problem`'s to say."""
        return not self.missing


def partition_files(run_folder: Path, index: int, total: int, *, stem: str | None = None) -> PartitionFiles:
    """Where partition `index` of `total` is written: `NAME_total_p_P_split_i` in three files."""
    name = f"{stem or run_folder.name}_total_p_{total}_split_{index}"
    return PartitionFiles(*(run_folder / f"{name}{suffix}" for suffix in (".h5", ".pkl", ".pairs.json")))


def find_partitions(run_folder: Path, total: int) -> list[PartitionFiles]:
    """Where each of `total` partitions is, whatever the run was called when it was published, or is to be written."""
    found: list[Counter[str]] = [Counter() for _ in range(total)]
    for path in list_partition_files(run_folder):
        match = _PARTITION.fullmatch(path.name)
        if match is not None and int(match["total"]) == total and int(match["index"]) < total:
            found[int(match["index"])][match["stem"]] += 1
    everywhere = sum(found, Counter[str]())
    own = run_folder.name

    def preferred(stems: Counter[str]) -> str:
        return min(stems, key=lambda stem: (-stems[stem], stem != own, stem), default=own)

    usual = preferred(everywhere)
    return [partition_files(run_folder, i, total, stem=preferred(s) if s else usual) for i, s in enumerate(found)]


def list_partition_files(run_folder: Path) -> list[Path]:
    """Every file in `run_folder` that is called as a partition's is, sorted."""
    try:
        return sorted(path for path in run_folder.iterdir() if _PARTITION.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def find_totals(run_folder: Path) -> list[int]:
    """The numbers of partitions that the names of the HDF5 files in `run_folder` speak of."""
    names = (path.name for path in list_partition_files(run_folder) if path.suffix == ".h5")
    return sorted({int(match["total"]) for name in names if (match := _PARTITION.fullmatch(name))})


def merged_files(folder: Path, name: str, out: Path | None = None) -> PartitionFiles:
    """Where the merged files of the run `name` in `folder` are."""
    h5 = out or folder / f"{name}.h5"
    stem = h5.name.removesuffix(h5.suffix)
    return PartitionFiles(h5, h5.with_name(f"{stem}.pkl"), h5.with_name(f"{stem}.pairs.json"))


def tracks_file(folder: Path, name: str) -> Path:
    """Where `pairs annotate` writes the annotation file of the run `name`."""
    return folder / "annotations" / f"{name}.json"


def review_file(folder: Path, name: str) -> Path:
    """Where the viewer notes which pairs of the run `name` are kept, rejected and tagged."""
    return folder / f"{name}.review.json"


def variant_name(file_name: str, variant: int) -> str:
    """`<stem>_v<r>.jpg`, the name of an image's second view."""
    return f"{_stem(file_name)}_v{variant}.jpg"


def variant_names(file_name: str, variants: int) -> list[str]:
    """The names of an image's first `variants` second views."""
    stem = _stem(file_name)
    return [f"{stem}_v{variant}.jpg" for variant in range(variants)]


def frame_name(file_name: str, frame: int) -> str:
    """`<stem>_v0_f<frame>.jpg`, frame 1 and on of an image's clip: frame 0 is the image itself."""
    return f"{_stem(file_name)}_v0_f{frame:03d}.jpg"


def clip_of(name: str) -> str | None:
    """The name under which a clip is known, that of its frame 1, where `name` is one of its frames; else None.

    >>> clip_of("000000000139_v0_f004.jpg"), clip_of("000000000139_v0.jpg")
    ('000000000139_v0_f001.jpg', None)
    """
    match = _FRAME.fullmatch(name)
    return f"{match['clip']}001.jpg" if match is not None else None


def view_name(file_name: str, view: int, frames: int) -> str:
    """The name of an image's view number `view`: a second view, or, of clips of `frames` frames, a frame."""
    return variant_name(file_name, view) if frames <= PAIR_FRAMES else frame_name(file_name, view + 1)


def view_names(file_name: str, views: int, frames: int) -> list[str]:
    """The names of an image's first `views` views."""
    if frames <= PAIR_FRAMES:
        return variant_names(file_name, views)
    return [frame_name(file_name, view + 1) for view in range(views)]


def find_runs(folder: Path) -> list[str]:
    """The names of the runs in `folder`: folders with a plan or partitions, and merged files; sorted."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    runs = {entry.name for entry in entries if entry.is_dir() and is_run_folder(entry)}
    merged = {entry.stem for entry in entries if entry.suffix == ".h5" and entry.with_suffix(".pkl").is_file()}
    return sorted(runs | merged)


def is_run_folder(folder: Path) -> bool:
    """Whether `folder` holds a run, of ovforge or of the original scripts."""
    return (folder / MANIFEST).is_file() or bool(find_totals(folder)) or has_lost_plan(folder)


def has_lost_plan(folder: Path) -> bool:
    """Whether `folder` holds what only a run of ovforge writes, but no plan: then `manifest.json` was removed."""
    if (folder / MANIFEST).is_file():
        return False
    records = (path for path in list_partition_files(folder) if path.name.endswith(".pairs.json"))
    return any((folder / LEDGER).glob("*.json")) or any(True for _ in records)


def run_command(step: str, folder: Path, name: str, *words: str, **options: object) -> str:
    """A command of `ovforge pairs` for the run `name` in `folder`, complete, as it can be pasted into a shell.

    >>> run_command("merge", Path("my runs"), "shop", "--overwrite")
    "ovforge pairs merge shop --overwrite --folder 'my runs'"
    >>> run_command("annotate", PAIRS_DIR, "shop", min_area=100)
    'ovforge pairs annotate shop --min-area 100'
    """
    elsewhere = None if folder == PAIRS_DIR else folder
    where = {"out" if step == "generate" else "folder": elsewhere}
    return shell_command("ovforge", "pairs", step, name, *words, **where, **options)


def require_tracks(folder: Path, name: str) -> Path:
    """The annotation file of the run `name` in `folder`, which must be there.

    Raises:
        InputError: there is no run of this name; names those that are there.
        MissingInputError: it is not annotated yet; names the command that comes next.
    """
    check_run_name(folder, name)
    path = tracks_file(folder, name)
    if not path.is_file():
        steps = ["annotate"] if merged_files(folder, name).h5.is_file() else ["merge", "annotate"]
        commands = [f"`{run_command(step, folder, name)}`" for step in steps]
        raise MissingInputError(path, what="the pairs JSON", hint=f"{', then '.join(commands)} writes it")
    return path


def check_run_name(folder: Path, name: str) -> Path:
    """The folder of the run `name` in `folder`, which must be there: as a run's folder or as merged files.

    Raises:
        InputError: there is no run of this name; names those that are there.
    """
    path = folder / name
    if not name or Path(name).name != name:
        raise InputError(
            f"{name!r}: the name of a run is one word, not a path", hint="give the folder that holds it as --folder=DIR"
        )
    if path.is_dir() or merged_files(folder, name).h5.is_file():
        return path
    runs = find_runs(folder)
    if not folder.is_dir():
        there = f"{folder} is not there"
    elif not runs:
        there = f"{folder} holds no run"
    else:
        more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
        there = f"the runs there are {', '.join(runs[:_SHOWN])}{more}"
    raise InputError(
        f"{name}: there is no run of this name in {folder}; {there}",
        hint="check the name, or give the folder that holds the run's folder as --folder=DIR",
    )


def _stem(file_name: str) -> str:
    """What `PurePosixPath.stem` is, without a path's cost: it is asked for every second view of a run."""
    name = file_name.rpartition("/")[2]
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name

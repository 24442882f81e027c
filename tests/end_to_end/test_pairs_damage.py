"""What becomes of a published run: damaged bytes are found, named and made again; a lost plan is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app as main_app
from ovforge.cli.pairs import app
from ovforge.errors import DamagedError, LostPlanError
from ovforge.options.diffusion import DiffusionOptions
from ovforge.options.pairs import GenerateOptions
from ovforge.records.run_layout import PartitionFiles, find_partitions
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.plan import Plan
from ovforge.synthesis.diffusion import DiffusionEngine
from ovforge.synthesis.pair_file import PublishedPair, read_about, read_pairs
from ovforge.synthesis.run_inputs import with_run_values
from ovforge.synthesis.verify import find_damage

COUNT, PARTITIONS = 8, 2
RUNS = Path("runs")
RUN = RUNS / "a"
OPTIONS = ["--ann", "ann.json", "--images", "images", "--engine", "warp", "--partitions", str(PARTITIONS)]


@pytest.fixture(scope="module")
def made(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of eight images in two partitions of two shards, under `pristine`."""
    folder = tmp_path_factory.mktemp("damage")
    root = folder / "root"
    (root / "images").mkdir(parents=True)
    content = json.loads((mini / "lvis/lvis_v1_train.json").read_bytes())
    content["images"] = content["images"][:COUNT]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    (root / "ann.json").write_text(json.dumps(content))
    for image in content["images"]:
        name = image["coco_url"].rpartition("/")[2]
        shutil.copy(mini / "coco/train2017" / name, root / "images" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("ovforge.cli.pairs.executor_of", lambda *_, **__: InProcessExecutor())
        assert pairs("generate", "a", *OPTIONS) == 0
    root.rename(folder / "pristine")
    return folder


@pytest.fixture
def root(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the run at the place where it was made."""
    shutil.copytree(made / "pristine", made / "root")
    monkeypatch.chdir(made / "root")
    monkeypatch.setattr("ovforge.cli.pairs.executor_of", lambda *_, **__: InProcessExecutor())  # no worker to start
    yield made / "root"
    shutil.rmtree(made / "root")


def pairs(command: str, *options: object) -> int:
    quick = ["--workers", "1", "--shard-size", "2"] if command in ("generate", "check") else []
    folder = ["--out" if command in ("generate", "check") else "--folder", "runs"]
    return run_app(app, [command, *map(str, options), *folder, *quick, *(["--quiet"] if command != "status" else [])])


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def first() -> PartitionFiles:
    return find_partitions(RUN, PARTITIONS)[0]


def published() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RUN.glob("*_total_p_*")}


def damage(what: str) -> str:
    """Damage one partition; what is named of it."""
    files = first()
    records = list(read_pairs(files.pairs, PublishedPair))
    match what:
        case "image":
            image = records[1].images[1]
            flip(files.h5, image.offset + image.size // 2)
            return image.name
        case "images of both shards":
            for record in (records[0], records[3]):
                flip(files.h5, record.images[0].offset + 700)
            return records[3].images[0].name
        case "superblock":
            flip(files.h5, 0)
        case "labels":
            flip(files.pkl, files.pkl.stat().st_size // 2)
            return files.pkl.name
        case "records":
            text = files.pairs.read_bytes()
            flip(files.pairs, text.index(b'"area":') + 8)
            return files.pairs.name
    return files.h5.name


@pytest.mark.parametrize(
    ("what", "remade"),
    [("image", 1), ("images of both shards", 2), ("superblock", 2), ("labels", 0), ("records", 2)],
)
def test_damage_that_merging_finds_is_made_again_and_nothing_else(
    root: Path, capsys: pytest.CaptureFixture[str], what: str, remade: int
) -> None:
    before = published()
    named = damage(what)
    assert pairs("generate", "a") == 0  # which looks at sizes only
    assert pairs("merge", "a") == 2
    said = capsys.readouterr().err
    assert first().h5.name.removesuffix(".h5") in said
    assert "`ovforge pairs generate a --verify --out runs`" in said
    assert not (RUNS / "a.h5").exists()

    assert pairs("generate", "a", "--verify") == 0
    out = capsys.readouterr().out
    assert named in out
    made_again = f"{remade} shards are made again" if remade > 1 else "1 shard is made again"
    assert (made_again in out) == bool(remade)
    kept = 4 - remade
    assert f"{kept} shards were done by an earlier call" in out
    assert published() == before
    assert pairs("merge", "a") == 0


def test_a_check_verifies_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairs("check", "a", "--verify") == 0
    assert "16 published images have the checksums" in capsys.readouterr().out
    named = damage("image")
    before = published()
    assert pairs("check", "a", "--verify") == 0
    assert f"{named} is damaged" in capsys.readouterr().out
    assert published() == before


def test_damage_is_not_handed_on_where_another_shard_is_made_again(root: Path) -> None:
    """What is split out of a partition, because another shard of it is made again, is compared first."""
    before = published()
    damage("image")  # in the first shard
    content = json.loads((root / "ann.json").read_bytes())
    fourth = content["images"][3]["id"]  # of the second shard
    for annotation in content["annotations"]:
        if annotation["image_id"] == fourth:
            annotation["id"] += 1_000_000
    (root / "ann.json").write_text(json.dumps(content))
    assert pairs("generate", "a", "--remake-changed") == 0
    assert not find_damage(RUN)
    second = find_partitions(RUN, PARTITIONS)[1].h5
    assert second.read_bytes() == before[second.name]
    assert pairs("merge", "a") == 0


def test_a_damaged_shard_that_waits_for_its_partition(root: Path) -> None:
    shutil.rmtree(RUN)
    assert pairs("generate", "a", *OPTIONS, "--shards", "1/4") == 0
    (shard,) = (RUN / "shards").glob("*.h5")
    whole = shard.read_bytes()
    flip(shard, len(whole) // 2)
    assert find_damage(RUN).shards
    assert pairs("generate", "a", "--verify", "--shards", "1/4") == 0
    assert shard.read_bytes() == whole


def test_a_check_refuses_images_that_may_not_be_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, access = sorted(path.name for path in Path("images").iterdir())[0], os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: name not in str(path) and access(path, mode, **more))
    (root / "images/dead.jpg").symlink_to("nowhere.jpg")  # says nothing about permissions
    assert pairs("check", "a") == 2
    said = capsys.readouterr().err
    assert f"images: 1 of 8 images may not be read: permission denied ({name})" in said
    assert "`chmod -R u+rX" in said


@pytest.mark.parametrize("what", ["options", "end"])
def test_a_damaged_note_of_the_run_is_no_other_run_and_no_dead_end(
    root: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """What a `.pairs.json` says of itself has lost a bit; its size is as it was."""
    before = published()
    files = first()
    text = files.pairs.read_bytes()
    at = text.rindex(b'"seed":') + 7 if what == "options" else len(text) - 2
    files.pairs.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
    assert pairs("merge", "a") == 2
    assert "ovforge pairs generate a" in capsys.readouterr().err
    assert pairs("generate", "a") == 0
    assert f"{files.pairs}: " in (out := capsys.readouterr().out)
    assert "its 2 shards are made again" in out
    assert "2 shards were done by an earlier call" in out
    assert published() == before


def test_every_bit_of_what_a_pair_file_says_of_itself_counts(root: Path) -> None:
    path = first().pairs
    text = path.read_bytes()
    about = read_about(path)
    start = text.rindex(b'], "about": ') + len(b'], "about": ')
    for at in range(start, len(text)):
        path.write_bytes(text[:at] + bytes([text[at] ^ 1 << at % 7]) + text[at + 1 :])
        try:
            found = read_about(path)
        except DamagedError:
            continue
        # Only the checksum's own name may be lost unseen.
        assert msgspec.structs.replace(found, own_crc32=about.own_crc32) == about, at


# A lost plan


def test_every_command_names_a_lost_plan(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (RUN / "manifest.json").unlink()
    for command in (["generate", "a"], ["check", "a"], ["merge", "a"], ["annotate", "a"], ["status", "a"],
                    ["replay", "a", "1"]):  # fmt: skip
        assert pairs(*command) == 2, command
        said = capsys.readouterr().err
        assert f"{RUN}: manifest.json, the plan of the run, is missing, although its work is there" in said, command
        assert "copy the file back" in said
    assert pairs("list") == 0
    assert "a  manifest.json, the plan of the run, is missing" in capsys.readouterr().out
    assert run_app(main_app, ["doctor", "--root", "."]) == 0
    assert len(published()) == 3 * PARTITIONS


def test_the_command_that_started_a_run_writes_its_plan_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, manifest = published(), (RUN / "manifest.json").read_bytes()
    (RUN / "manifest.json").unlink()
    assert pairs("generate", "a", *OPTIONS, "--seed", 1) == 2  # another run
    assert not (RUN / "manifest.json").exists()
    capsys.readouterr()
    assert pairs("generate", "a", *OPTIONS) == 0
    assert "manifest.json was missing and is written again" in capsys.readouterr().out
    assert (RUN / "manifest.json").read_bytes() == manifest
    assert published() == before
    assert pairs("merge", "a") == 0


def test_a_damaged_plan_is_no_reason_to_throw_the_work_away(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, path = published(), RUN / "manifest.json"
    manifest = path.read_bytes()
    flip(path, 0)
    assert pairs("generate", "a", *OPTIONS) == 2
    assert "move it away" in capsys.readouterr().err
    path.rename(RUN / "manifest.damaged")
    assert pairs("generate", "a", *OPTIONS) == 0
    assert path.read_bytes() == manifest
    assert published() == before


def test_a_lost_plan_without_a_ledger(root: Path) -> None:
    (RUN / "manifest.json").unlink()
    shutil.rmtree(RUN / "ledger")
    assert pairs("generate", "a", *OPTIONS) == 2
    assert pairs("merge", "a") == 2
    assert pairs("generate", "a", *OPTIONS, "--overwrite") == 0
    assert pairs("merge", "a") == 0


def test_python_callers_get_a_type(root: Path) -> None:
    import ovforge

    (RUN / "manifest.json").unlink()
    with pytest.raises(LostPlanError, match="overwrite=True"):
        ovforge.pairs.merge("a", folder="runs")


# What a resume says


def test_a_difference_is_called_as_the_command_line_calls_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairs("generate", "a", "--partitions", 3, "--seed", 4, "--limit", 4, "--variants", 2) == 2
    said = capsys.readouterr().err
    for text in ("`--partitions`: 2 in the run, 3 now", "`--seed`: 0 in the run, 4 now", "images: 8 in the run, 4 now",
                 "`--limit`: None in the run, 4 now", "`--variants`: 1 in the run, 2 now"):  # fmt: skip
        assert text in said
    assert "groups" not in said
    assert pairs("generate", "a", "--engine", "fill") == 2
    assert "`--engine`: warp in the run, fill now" in capsys.readouterr().err


def test_options_that_were_not_given_are_taken_silently(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairs("generate", "a") == 0
    out = capsys.readouterr().out
    assert "--partitions 2: as the run was started" in out  # a new run would have one
    assert out.count("as the run was started") == 1


def test_a_repainting_run_s_own_defaults_are_no_news() -> None:
    described = {"engine": {"engine": "diffusion"}, "variants": 2, "min_area": 4096.0, "outside": "completed",
                 "masks": True, "quality": 95, "limit": None, "labels": "kept"}  # fmt: skip
    plan = Plan(task="pairs", items=4, shard_size=2, groups=(4,), options=described)
    given = {"annotations": Path("a.json"), "images": Path("images"), "no_captions": True}
    options, notes = with_run_values(GenerateOptions("a", **given), plan, DiffusionEngine(DiffusionOptions()), given)
    assert (options.min_area, options.variants) == (4096, 2)
    assert notes == ["--variants 2: as the run was started"]

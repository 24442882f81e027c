"""A run of pairs is resumed, merged, annotated and replayed wherever its inputs are now, and is whole by one rule."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app as main_app
from ovforge.cli.pairs import app
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import load_plan
from ovforge.synthesis import partitions
from ovforge.synthesis.partitions import adopt_partitions, publish_partitions

ANNOTATIONS = Path("data/lvis/annotations/lvis_v1_train+coco_mask_v1_base.json")
CAPTIONS = Path("data/lvis/annotations/captions_train2017.json")
IMAGES = Path("data/lvis/train2017")
RUNS = Path("data/tao/ovtrack")
COUNT = 8
FIRST = "000000000071.jpg"


@pytest.fixture
def root(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the first eight images of the mini set in the default places."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ANNOTATIONS.parent.mkdir(parents=True)
    IMAGES.mkdir()
    content = json.loads((mini / "lvis/lvis_v1_train.json").read_bytes())
    content["images"] = content["images"][:COUNT]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    ANNOTATIONS.write_text(json.dumps(content))
    captions = json.loads((mini / "coco/annotations/captions_train2017.json").read_bytes())
    captions["annotations"] = [c for c in captions["annotations"] if c["image_id"] in ids]
    CAPTIONS.write_text(json.dumps(captions))
    for image in content["images"]:
        name = image["coco_url"].rpartition("/")[2]
        shutil.copy(mini / "coco/train2017" / name, IMAGES / name)
    return folder


def pairs(command: str, *options: object, code: int = 0) -> None:
    quick = ["--workers", "1", "--shard-size", "2"] if command in ("generate", "check") else []
    assert run_app(app, [command, *map(str, options), *quick, "--quiet"]) == code


def published(folder: Path) -> dict[str, bytes]:
    """The partitions by what they are, whatever the run is called."""
    return {path.name.partition("_total_p_")[2]: path.read_bytes() for path in folder.glob("*_total_p_*")}


def pixels(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in published(folder).items() if not name.endswith(".pairs.json")}


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


# One rule for whole


def test_a_renamed_run_is_the_same_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a", "--partitions", 2)
    before = published(RUNS / "a")
    (RUNS / "a").rename(RUNS / "b")
    told(capsys)
    pairs("generate", "b")
    assert "4 shards were done by an earlier call" in told(capsys)
    assert published(RUNS / "b") == before
    pairs("merge", "b")
    pairs("annotate", "b")
    pairs("replay", "b", FIRST)
    assert "equal to the run's, byte for byte  1" in told(capsys)
    pairs("status", "b", "--json")
    assert json.loads(capsys.readouterr().out)["done"] == 4


def test_a_run_renamed_when_half_done_is_finished_under_one_name(root: Path) -> None:
    pairs("generate", "whole", "--partitions", 2)
    pairs("generate", "a", "--partitions", 2, "--shards", "1/4")
    pairs("generate", "a", "--partitions", 2, "--shards", "2/4")
    assert len(published(RUNS / "a")) == 3  # the first partition
    (RUNS / "a").rename(RUNS / "b")
    pairs("generate", "b")
    assert published(RUNS / "b").keys() == published(RUNS / "whole").keys()
    assert {path.name[:2] for path in (RUNS / "b").glob("*_total_p_*")} == {"a_"}
    pairs("merge", "b")
    pairs("merge", "whole")
    assert (RUNS / "b.h5").read_bytes() == (RUNS / "whole.h5").read_bytes()


def test_partitions_renamed_with_their_folder_are_still_done(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a")
    (RUNS / "a").rename(RUNS / "b")
    for path in (RUNS / "b").glob("a_total*"):
        path.rename(path.with_name("b" + path.name[1:]))
    told(capsys)
    pairs("generate", "b")
    assert "4 shards were done by an earlier call" in told(capsys)


@pytest.mark.parametrize("lost", [".h5", ".pkl", ".pairs.json"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_lost_file_of_a_partition_is_made_again(
    root: Path, capsys: pytest.CaptureFixture[str], lost: str, how: str
) -> None:
    pairs("generate", "a", "--partitions", 2)
    before = published(RUNS / "a")
    path = RUNS / f"a/a_total_p_2_split_1{lost}"
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-200])
    told(capsys)
    pairs("merge", "a", code=2)
    assert f"{path.name}" in (said := told(capsys))
    assert "`ovforge pairs generate a` resumes the run" in said
    pairs("generate", "a")
    assert "are made again" in told(capsys)
    assert published(RUNS / "a") == before
    pairs("merge", "a")


def test_a_lost_ledger_is_read_back_from_the_partitions(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a", "--json")
    before = json.loads(capsys.readouterr().out)
    shutil.rmtree(RUNS / "a/ledger")
    pairs("generate", "a", "--json")
    after = json.loads(capsys.readouterr().out)
    assert after["counts"] == before["counts"]
    assert after["drops"] == before["drops"]
    assert "4 shards were done by an earlier call" in after["notes"]


def test_a_partition_of_another_run_is_not_taken_for_this_one_s(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a")
    pairs("generate", "b", "--seed", 5, "--shards", "1/4")
    for path in (RUNS / "a").glob("a_total*"):
        shutil.copy(path, RUNS / "b")
    told(capsys)
    pairs("generate", "b", code=2)
    assert "was published by another run" in told(capsys)


def test_two_that_publish_at_the_same_moment_do_no_harm(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs("generate", "whole")
    monkeypatch.setattr("ovforge.synthesis.generate.publish_partitions", lambda *_: [])
    monkeypatch.setattr("ovforge.synthesis.generate.check_published", lambda folder: None)
    pairs("generate", "a")
    assert not published(RUNS / "a")
    barrier = threading.Barrier(2)
    publish = partitions.publish_partition

    def at_once(*arguments: Any, **options: Any) -> None:
        barrier.wait()
        publish(*arguments, **options)

    monkeypatch.setattr(partitions, "publish_partition", at_once)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            publish_partitions(RUNS / "a")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert published(RUNS / "a") == published(RUNS / "whole")
    plan, plan_id = load_plan(RUNS / "a")
    assert len(Ledger(RUNS / "a", plan_id).done(plan.shards())) == 4


def test_whoever_publishes_second_finds_the_shards_gone_and_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovforge.synthesis.generate.publish_partitions", lambda *_: [])
    monkeypatch.setattr("ovforge.synthesis.generate.check_published", lambda folder: None)
    pairs("generate", "a")
    publish = partitions.publish_partition

    def overtaken(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(partitions, "publish_partition", publish)
        publish_partitions(RUNS / "a")  # the other one, from start to end
        publish(*arguments, **options)

    monkeypatch.setattr(partitions, "publish_partition", overtaken)
    publish_partitions(RUNS / "a")
    assert len(published(RUNS / "a")) == 3
    assert adopt_partitions(RUNS / "a") == []


# Paths are hints


def test_a_run_is_resumed_merged_annotated_and_replayed_from_elsewhere(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs("generate", "whole")
    pairs("generate", "a", "--shards", "1/2")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = root / RUNS
    pairs("generate", "a", "--folder", folder)
    assert pixels(folder / "a") == pixels(folder / "whole")
    pairs("merge", "a", "--folder", folder)
    pairs("annotate", "a", "--folder", folder)
    pairs("replay", "a", FIRST, "--folder", folder)
    monkeypatch.chdir(root / "data")
    pairs("generate", "a", "--folder", "tao/ovtrack", "--images", "lvis/../lvis/train2017/")


def test_a_data_root_that_was_moved_still_holds_its_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs("generate", "a", "--shards", "1/2")
    monkeypatch.chdir(tmp_path)
    root.rename(tmp_path / "moved")
    folder = tmp_path / "moved" / RUNS
    pairs("generate", "a", "--folder", folder)
    pairs("merge", "a", "--folder", folder)
    pairs("annotate", "a", "--folder", folder)
    pairs("replay", "a", FIRST, "--folder", folder)


def test_each_job_may_have_its_inputs_on_its_own_scratch(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs("generate", "whole")
    out = tmp_path / "out"
    for job in (1, 2):
        scratch = tmp_path / f"scratch{job}"
        shutil.copytree(root / "data/lvis", scratch)
        monkeypatch.chdir(scratch)
        inputs = [
            *("--images", scratch / "train2017", "--ann", scratch / "annotations" / ANNOTATIONS.name),
            *("--captions", scratch / "annotations" / CAPTIONS.name),
        ]
        pairs("generate", "a", "--folder", out, "--shards", f"{job}/2", *inputs)
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(scratch)
    assert pixels(out / "a") == pixels(root / RUNS / "whole")
    pairs("merge", "a", "--folder", out)  # the records say what was planned
    told(capsys)
    pairs("annotate", "a", "--folder", out, code=2)
    assert "say where it is now with --annotations" in told(capsys)
    pairs("annotate", "a", "--folder", out, "--annotations", root / ANNOTATIONS)
    pairs("replay", "a", FIRST, "--folder", out, code=2)
    said = told(capsys)
    assert all(f"--{role} PATH" in said for role in ("annotations", "captions", "images"))
    now = ["--annotations", root / ANNOTATIONS, "--captions", root / CAPTIONS, "--images", root / IMAGES]
    pairs("replay", "a", FIRST, "--folder", out, *now)
    assert "equal to the run's, byte for byte  1" in told(capsys)


def test_a_symlinked_folder_and_its_real_name_are_one_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    RUNS.mkdir(parents=True)
    (RUNS / "link").symlink_to(tmp_path / "real")
    pairs("generate", "link", "--shards", "1/2")
    pairs("generate", "link")
    pairs("merge", "real", "--folder", tmp_path)
    pairs("merge", "link")
    assert (tmp_path / "real.h5").read_bytes() == (RUNS / "link.h5").read_bytes()


def test_other_images_under_the_same_names_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a", "--shards", "1/2")
    first, second = sorted(IMAGES.iterdir())[:2]
    shutil.copy(second, first)
    told(capsys)
    pairs("generate", "a", code=2)
    assert f"{first.name} in {root / IMAGES} is another image than in the run" in told(capsys)


# What is not given is the run's own


def test_captions_and_packed_images_that_appear_change_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CAPTIONS.rename(root / "captions.json")
    pairs("generate", "whole")
    pairs("generate", "a", "--shards", "1/2")
    (root / "captions.json").rename(CAPTIONS)
    with ImageWriter(Path("data/lvis/train_imgs.hdf5")) as writer:
        for path in sorted(IMAGES.iterdir()):
            writer.add(path.name, path.read_bytes())
    pairs("generate", "a")
    assert published(RUNS / "a") == published(RUNS / "whole")
    pairs("generate", "a", "--images", "data/lvis/train_imgs.hdf5")  # the same images in another form
    told(capsys)
    pairs("generate", "a", "--captions", CAPTIONS, code=2)
    assert "input captions: none in the run" in told(capsys)


def test_a_resume_takes_the_run_s_own_options(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--engine", "warp", "--seed", 5, "--variants", 2, "--partitions", 2, "--no-masks", "--limit", 6]
    pairs("generate", "whole", *options)
    pairs("generate", "a", *options, "--shards", "1/2")
    told(capsys)
    pairs("generate", "a")
    assert "--seed 5: as the run was started" in told(capsys)
    assert published(RUNS / "a") == published(RUNS / "whole")
    pairs("generate", "a", "--seed", 0, code=2)
    assert "seed`: 5 in the run, 0 now" in told(capsys)


def test_no_captions_can_be_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a", "--no-captions")
    record = next(p for p in json.loads((RUNS / "a/a_total_p_1_split_0.pairs.json").read_bytes())["pairs"])
    assert record["variants"][0]["caption"].startswith("a photo of a")
    pairs("generate", "a")
    pairs("generate", "b", "--no-captions", "--captions", CAPTIONS, code=2)
    assert "exclude each other" in told(capsys)


def test_a_start_that_failed_leaves_no_plan(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = root / "no-model"
    pairs("generate", "a", "--engine", "diffusion", "--model", missing, code=2)
    assert not (RUNS / "a").exists()
    pairs("generate", "a")
    pairs("merge", "a")


def test_a_plan_under_which_nothing_was_done_binds_nobody(root: Path) -> None:
    pairs("generate", "a", "--seed", 3, "--shards", "1/4")
    shutil.rmtree(RUNS / "a/ledger")
    shutil.rmtree(RUNS / "a/shards")  # what kill -9 leaves before the first shard
    pairs("generate", "a", "--seed", 4)
    assert load_plan(RUNS / "a")[0].seed == 4


def test_a_changed_library_may_be_accepted_by_name(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs("generate", "a", "--shards", "1/2")
    from ovforge.synthesis import generate

    real = generate.library_versions()
    monkeypatch.setattr(generate, "library_versions", lambda: {**real, "numpy": "99.0"})
    told(capsys)
    pairs("generate", "a", code=2)
    assert "--accept-version numpy" in told(capsys)
    pairs("generate", "a", "--accept-version", "opencv", code=2)
    pairs("generate", "a", "--accept-version", "numpy")


# Names, and runs without images


@pytest.mark.parametrize("command", [["status"], ["merge"], ["annotate"], ["sheet"], ["view"], ["replay"]])
def test_an_unknown_run_is_named_with_those_that_are_there(
    root: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (RUNS / "mine").mkdir(parents=True)
    (RUNS / "mine/manifest.json").write_text("{}")
    more = [FIRST] if command == ["replay"] else []
    assert run_app(main_app, ["pairs", *command, "nosuch", *more]) == 2
    assert f"nosuch: there is no run of this name in {RUNS}; the runs there are mine" in told(capsys)


def test_a_run_that_lost_most_of_its_images_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(IMAGES.iterdir())[:5]:
        path.write_bytes(path.read_bytes()[:2000])
    pairs("generate", "a", code=1)
    said = told(capsys)
    assert "only 3 of 8 images could be used: 5 images" in said
    assert "--retry-skipped" in said
    assert len(published(RUNS / "a")) == 3  # what could be used is there all the same
    pairs("generate", "a", code=1)


def test_most_images_missing_is_said_before_the_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(IMAGES.iterdir())[:5]:
        path.unlink()
    for command in ("check", "generate"):
        pairs(command, "a", code=2)
        assert "5 of 8 images are not there: 0000" in told(capsys)
    assert not RUNS.exists()


# pairs check


def test_a_check_says_what_a_run_will_skip_write_and_take(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (IMAGES / FIRST).unlink()
    correct(lambda content: followed(content).update(iscrowd=1))
    told(capsys)
    pairs("check", "a", "--json")
    checked = json.loads(capsys.readouterr().out)
    assert not RUNS.exists()
    assert checked["next_command"] == "ovforge pairs generate a --shard-size 2 --workers 1"
    assert checked["counts"]["images that are there"] == COUNT - 1
    assert {"estimated time, 1 worker", "disk for the partitions", "disk free"} <= checked["counts"].keys()
    foreseen = {(drop["kind"], drop["reason"]): drop["count"] for drop in checked["drops"]}
    pairs("generate", "a", "--json")
    made = json.loads(capsys.readouterr().out)
    assert foreseen["image", "is missing"] == 1
    assert foreseen["annotation", "is a crowd region: it becomes an ignore region"] >= 1
    assert checked["counts"]["objects to follow"] >= made["counts"]["objects"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["annotations"][0].update(image_id=1), "image"),
        (lambda content: content["annotations"][0].update(category_id=77_777), "77777"),
        (lambda content: content["annotations"][0].pop("image_id"), "image_id"),
        (lambda content: content["images"][0].update(width=0), "width"),
        (lambda content: content["annotations"].append(content["annotations"][0]), "id"),
        (lambda content: content["images"].clear(), "image"),
        (lambda content: content["annotations"].clear(), "object"),
    ],
)
def test_what_a_later_step_would_refuse_is_refused_first(
    root: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str
) -> None:
    correct(change)
    for command in ("check", "generate"):
        pairs(command, "a", code=2)
        assert said in told(capsys)
    assert not RUNS.exists()


def test_a_check_of_a_run_that_is_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a", "--seed", 3, "--shards", "1/2")
    told(capsys)
    pairs("check", "a")
    assert "the run that is there would be resumed" in told(capsys)
    pairs("check", "a", "--seed", 4, code=2)
    assert "seed`: 3 in the run, 4 now" in told(capsys)
    correct(lambda content: content["annotations"][0].update(note="new"))
    pairs("check", "a")
    assert "no image has to be made again" in told(capsys)


def test_a_folder_without_a_single_image_is_refused_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in IMAGES.iterdir():
        path.unlink()
    pairs("generate", "a", code=2)
    assert f"{IMAGES}: holds none of the 8 images" in told(capsys)
    assert not RUNS.exists()


def test_skipped_images_are_made_when_they_are_there(
    root: Path, mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs("generate", "whole", "--partitions", 2)
    lost = IMAGES / FIRST
    lost.unlink()
    pairs("generate", "a", "--partitions", 2)
    assert published(RUNS / "a") != published(RUNS / "whole")
    shutil.copy(mini / "coco/train2017" / FIRST, lost)
    told(capsys)
    pairs("generate", "a", "--retry-skipped")
    said = told(capsys)
    assert "1 skipped image is tried again, in 1 of 4 shards" in said
    assert "3 shards were done by an earlier call" in said
    assert published(RUNS / "a") == published(RUNS / "whole")


# A corrected annotation file


def correct(change: Any) -> None:
    content = json.loads(ANNOTATIONS.read_bytes())
    change(content)
    ANNOTATIONS.write_text(json.dumps(content, indent=1))


def followed(content: dict[str, Any]) -> dict[str, Any]:
    """The first annotation whose object is followed."""
    return next(a for a in content["annotations"] if a["area"] > 4096 and not a.get("iscrowd"))


def test_labels_are_taken_from_a_corrected_file_without_a_new_image(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs("generate", "a", "--partitions", 2, "--shards", "1/4")
    pairs("generate", "a", "--partitions", 2, "--shards", "2/4")
    pairs("generate", "a", "--partitions", 2, "--shards", "3/4")  # a whole partition, and a shard of the other

    def change(content: dict[str, Any]) -> None:
        content["categories"].append({**content["categories"][0], "id": 99_999, "name": "corrected"})
        followed(content)["category_id"] = 99_999
        for annotation in content["annotations"]:
            annotation["checked_by"] = "me"
            annotation["bbox"] = [float(number) for number in annotation["bbox"]]

    correct(change)
    told(capsys)
    pairs("generate", "a")
    said = told(capsys)
    assert "labels are taken from it" in said
    assert "3 shards were done by an earlier call" in said  # although their partition's files have other sizes now
    pairs("generate", "fresh", "--partitions", 2)  # what the corrected file gives from the start
    assert published(RUNS / "a") == published(RUNS / "fresh")
    pairs("merge", "a")
    pairs("annotate", "a")
    tracks = json.loads((RUNS / "annotations/a.json").read_bytes())
    assert {a["checked_by"] for a in tracks["annotations"]} == {"me"}
    assert sum(a["category_id"] == 99_999 for a in tracks["annotations"]) >= 2  # in both frames


def test_merged_files_from_before_a_correction_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs("generate", "a")
    pairs("merge", "a")
    correct(lambda content: content["annotations"][0].update(note="new"))
    told(capsys)
    pairs("annotate", "a", code=2)
    assert "a corrected one is taken over by" in told(capsys)
    pairs("generate", "a")
    pairs("annotate", "a", code=2)
    assert "was merged before the run's annotation file was corrected" in told(capsys)
    pairs("merge", "a", "--overwrite")
    pairs("annotate", "a")


@pytest.mark.parametrize("what", ["polygon", "size", "crowd", "removed"])
def test_images_that_a_correction_changes_are_named_and_made_again(
    root: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        annotation = followed(content)
        image = next(image for image in content["images"] if image["id"] == annotation["image_id"])
        match what:
            case "polygon":
                annotation["segmentation"][0][0] += 5
            case "size":
                image["width"] += 1
            case "crowd":
                annotation["iscrowd"] = 1
            case _:
                content["annotations"].remove(annotation)

    pairs("generate", "a", "--partitions", 2)
    before = published(RUNS / "a")
    correct(change)
    told(capsys)
    pairs("generate", "a", code=2)
    said = told(capsys)
    assert "1 of 8 images would come out otherwise: 0000" in said
    assert "--remake-changed" in said
    assert published(RUNS / "a") == before
    pairs("generate", "a", "--remake-changed")
    assert "3 shards were done by an earlier call" in told(capsys)
    pairs("generate", "fresh", "--partitions", 2)
    assert published(RUNS / "a") == published(RUNS / "fresh")
    pairs("generate", "a")
    assert "4 shards were done by an earlier call" in told(capsys)


@pytest.mark.parametrize("corrected_before", [False, True])
def test_another_list_of_images_is_another_run(
    root: Path, capsys: pytest.CaptureFixture[str], corrected_before: bool
) -> None:
    def shorten(content: dict[str, Any]) -> None:
        gone = content["images"].pop()["id"]
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] != gone]

    pairs("generate", "a")
    if corrected_before:  # then labels are rewritten whenever the file has changed
        correct(lambda content: followed(content).update(note="seen"))
        pairs("generate", "a")
    before = published(RUNS / "a")
    for change in (lambda content: content["images"].reverse(), shorten):
        correct(change)
        told(capsys)
        pairs("generate", "a", code=2)
        assert "lists other images than at the run's start" in told(capsys)
        assert published(RUNS / "a") == before

"""`pairs annotate --review` leaves rejected second views out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovforge.errors import MissingInputError
from ovforge.exports import export_pairs
from ovforge.exports.videos import VideoFile
from ovforge.files.review_file import change_review
from ovforge.options.exports import ExportFormat, ExportOptions
from ovforge.options.tracks import AnnotateOptions
from ovforge.records.reporting import StepSummary
from ovforge.records.review import REJECTED, ReviewChange
from ovforge.synthesis.tracks import annotate_pairs

Annotate = Callable[..., tuple[StepSummary, dict[str, Any]]]


@pytest.fixture
def folder(mini_pairs: Path, tmp_path: Path) -> Path:
    """A folder with the runs of `mini_pairs` that a review may be written to."""
    for path in mini_pairs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def annotate(folder: Path) -> Annotate:
    def run(name: str, **options: Any) -> tuple[StepSummary, dict[str, Any]]:
        out = folder / f"out/{name}.json"
        summary = annotate_pairs(AnnotateOptions(name, folder, out=out, overwrite=True, **options))
        return summary, msgspec.json.decode(out.read_bytes())

    return run


def skipped(summary: StepSummary) -> int:
    return sum(drop.count for drop in summary.drops if drop.reason == REJECTED)


def reject(folder: Path, name: str, *names: str) -> None:
    change_review(folder / f"{name}.review.json", [ReviewChange(one, "reject") for one in names])


def followed(record: dict[str, Any]) -> dict[str, Any]:
    """An object; without its numbers if it is an ignore region: those are counted anew."""
    numbers = {"id", "track_id", "instance_id"} if record["iscrowd"] else set()
    return {key: value for key, value in record.items() if key not in numbers}


def second_views(content: dict[str, Any]) -> list[str]:
    return [image["file_name"] for image in content["images"] if image["frame_id"] > 0]


def test_rejected_pairs_are_left_out_and_counted(folder: Path, annotate: Annotate) -> None:
    _, before = annotate("mini")
    first, *others = second_views(before)
    reject(folder, "mini", first)
    summary, content = annotate("mini", review=True)
    assert second_views(content) == others
    assert skipped(summary) == 1
    assert {image["video_id"] for image in content["images"]} == {video["id"] for video in content["videos"]}
    assert {one["image_id"] for one in content["annotations"]} <= {image["id"] for image in content["images"]}
    kept = {image["id"] for image in content["images"]}
    there = [one for one in before["annotations"] if one["image_id"] in kept]
    assert [followed(one) for one in content["annotations"]] == [followed(one) for one in there]
    _, without = annotate("mini")
    assert without == before


@pytest.mark.parametrize("more", [{}, {"original": True}, {"objects": "all"}])
def test_one_of_two_second_views_leaves_the_other(folder: Path, annotate: Annotate, more: dict[str, Any]) -> None:
    _, before = annotate("mini2", **more)
    first = next(name for name in second_views(before) if name.endswith("_v0.jpg"))
    other = first.replace("_v0", "_v1")
    reject(folder, "mini2", first)
    _, content = annotate("mini2", review=True, **more)
    assert set(second_views(before)) - set(second_views(content)) == {first}
    video = next(image["video_id"] for image in content["images"] if image["file_name"] == other)
    frames = [image["frame_id"] for image in content["images"] if image["video_id"] == video]
    assert frames == [0, 1]
    known = {image["id"] for image in content["images"]}
    assert {one["image_id"] for one in content["annotations"]} <= known


def test_nothing_is_left_of_an_image_without_second_views(folder: Path, annotate: Annotate) -> None:
    _, before = annotate("mini2", original=True)
    names = [name for name in second_views(before) if name.startswith(second_views(before)[0][:12])]
    assert len(names) == 2
    reject(folder, "mini2", *names)
    _, content = annotate("mini2", original=True, review=True)
    assert not set(names) & set(second_views(content))
    original = f"{names[0][:12]}.jpg"
    of_original = [image for image in content["images"] if image["file_name"] == original]
    assert len(of_original) == 1  # as a video of one frame, not as a pair


def test_review_has_to_be_there_if_it_is_asked_for(annotate: Annotate) -> None:
    with pytest.raises(MissingInputError, match=r"mini\.review\.json"):
        annotate("mini", review=True)


def test_exports_leave_rejected_pairs_out(folder: Path, annotate: Annotate, tmp_path: Path) -> None:
    _, content = annotate("mini2")
    names = second_views(content)
    reject(folder, "mini2", names[0], names[2], names[3])
    options = {"folder": folder, "annotations": folder / "out/mini2.json", "copy_images": False, "overwrite": True}
    summary = export_pairs(ExportOptions("mini2", ExportFormat.COCO, out=tmp_path / "coco", **options))
    written = msgspec.json.decode((tmp_path / "coco/annotations/instances_train.json").read_bytes())
    there = {image["file_name"] for image in written["images"]}
    assert not there & {names[0], names[2], names[3]}
    assert names[1] in there
    assert skipped(summary) == 3
    frames = [image["frame_id"] for image in written["images"] if image["file_name"] in (names[1],)]
    assert frames == [1]
    with VideoFile(folder / "out/mini2.json") as file:
        assert summary.counts["videos"] == len(file) - 1
    whole = export_pairs(ExportOptions("mini2", ExportFormat.COCO, out=tmp_path / "coco", review=False, **options))
    assert skipped(whole) == 0

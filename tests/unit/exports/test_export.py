"""What every export promises: whole or not at all, only what was asked for, and errors that say what is wrong."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.pairs import app
from ovforge.errors import AnnotationFileError, ImageError, InputError, MissingInputError, OutputExistsError
from ovforge.exports import export_pairs
from ovforge.options.exports import ExportFormat, ExportOptions

Export = Callable[..., Path]
FORMATS = [one.value for one in ExportFormat]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("to", FORMATS)
def test_equal_pairs_give_equal_bytes_and_an_old_export_is_only_replaced_on_request(
    to: str, export: Export, tmp_path: Path
) -> None:
    first = export("clips", to)
    before = tree(first)
    assert before == tree(export("clips", to, out=tmp_path / "again"))
    with pytest.raises(OutputExistsError, match="already exists"):
        export("clips", to)
    (first / "old").write_text("from before")
    export("clips", to, overwrite=True)
    assert tree(first) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # nothing temporary is left
    assert not [name for name in before if Path(name).name.startswith(".")]


def test_somebody_elses_folder_is_not_replaced(export: Export, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"has no ovforge-export\.json, so it holds something else"):
        export("clips", "coco", out=own, overwrite=True)
    assert [path.name for path in own.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("to", FORMATS)
def test_an_image_that_is_missing_stops_the_export_and_leaves_nothing(to: str, clips: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "007.jpg").write_bytes(b"\xff\xd8x\xff\xd9")
    out = tmp_path / "out"
    options = ExportOptions("clips", ExportFormat(to), folder=clips, images=images, out=out)
    with pytest.raises(ImageError, match=r"007_v0_f001\.jpg: is missing"):
        export_pairs(options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def kept(folder: Path) -> set[str]:
    return {path.name for path in (folder / "images").iterdir()}


CLIP_9 = {"009.jpg", "009_v0_f001.jpg", "009_v0_f002.jpg"}


@pytest.mark.parametrize("line", ["009_v0_f001.jpg", "009.jpg", "c-d", "9", "# a remark\n\n  9 \n9\n009.jpg"])
def test_only_what_a_file_lists(line: str, export: Export, tmp_path: Path) -> None:
    listed = tmp_path / "only.txt"
    listed.write_text(f"{line}\n")
    assert kept(export("clips", "images", only=listed)) == CLIP_9
    data = json.loads((export("clips", "tao", only=listed) / "annotations/train.json").read_bytes())
    assert {image["video_id"] for image in data["images"]} == {9}
    assert {track["video_id"] for track in data["tracks"]} == {9}


def test_a_line_that_names_nothing_is_named(export: Export, tmp_path: Path) -> None:
    listed = tmp_path / "only.txt"
    listed.write_text("009.jpg\n010.jpg\n")
    with pytest.raises(InputError, match=r"only\.txt: line 2: '010\.jpg' is not an image, name or id of a pair"):
        export("clips", "images", only=listed)
    with pytest.raises(MissingInputError, match="list of what to export not found"):
        export("clips", "images", only=tmp_path / "other.txt")
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a text file"):
        export("clips", "images", only=listed)
    listed.write_text("# nothing\n")
    with pytest.raises(InputError, match="has no video of more than one frame to export"):
        export("clips", "images", only=listed)


@pytest.mark.parametrize("to", [to for to in FORMATS if to not in ("images", "webdataset")])
def test_without_images_the_rest_is_the_same(to: str, export: Export, clips: Path, tmp_path: Path) -> None:
    whole = tree(export("clips", to))
    bare = tree(
        export("clips", to, out=tmp_path / "bare", copy_images=False, images=tmp_path / "there is no such file.h5")
    )
    assert bare == {name: data for name, data in whole.items() if not name.endswith(".jpg")}
    assert len(whole) - len(bare) == 8


@pytest.mark.parametrize("to", ["images", "webdataset"])
def test_formats_of_images_need_them(to: str) -> None:
    with pytest.raises(InputError, match="is made of the images"):
        ExportOptions("x", ExportFormat(to), copy_images=False)


@pytest.mark.parametrize("to", ["youtube-vis", "burst"])
def test_formats_of_masks_say_which_object_has_none(
    to: str, clips: Path, content: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    data = content("clips")
    del data["annotations"][3]["segmentation"]
    path = tmp_path / "clips.json"
    path.write_text(json.dumps(data))
    options = ExportOptions("clips", ExportFormat(to), folder=clips, annotations=path, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"007_v0_f001\.jpg: annotation 4 has no mask") as error:
        export_pairs(options)
    assert "the formats tao, mot, cvat and coco do without" in error.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["clips.json"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.pop("videos"), r'has no "videos"'),
        (lambda d: d["images"][2].pop("video_id"), r"image number 3 \(byte [\d,]+\) has no video_id"),
        (lambda d: d["images"][2].update(video_id=8), r'image number 3 .* has video_id 8, which is not in "videos"'),
        (lambda d: d["annotations"][1].update(image_id=1), r"annotation number 2 .* has image_id 1, which is not in"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2]), r"annotation number 2 .* does not fit"),
        (lambda d: d["annotations"][1].pop("track_id"), r"annotation number 2 .* does not fit .*track_id"),
        (lambda d: d["images"][1].update(frame_id=0), r"has the frame_id of another image of its video"),
        (lambda d: d["videos"][1].update(id=7), r"has the id 7 of"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    change: Callable[[dict[str, Any]], Any],
    problem: str,
    clips: Path,
    content: Callable[[str], dict[str, Any]],
    tmp_path: Path,
) -> None:
    data = content("clips")
    change(data)
    path = tmp_path / "clips.json"
    path.write_text(json.dumps(data))
    options = ExportOptions("clips", ExportFormat.TAO, folder=clips, annotations=path, out=tmp_path / "out")
    with pytest.raises(AnnotationFileError, match=problem):
        export_pairs(options)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.json"]


def test_names_that_are_paths_do_not_leave_the_folder(
    clips: Path, content: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    data = content("clips")
    data["videos"][0]["name"], data["videos"][1]["name"] = "../../evil", ".."
    path = tmp_path / "clips.json"
    for to in ExportFormat:
        path.write_text(json.dumps(data))
        out = tmp_path / "deep/er" / to.value
        export_pairs(ExportOptions("clips", to, folder=clips, annotations=path, out=out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.json", "deep"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["er"]
    assert sorted(path.name for path in (tmp_path / "deep/er").iterdir()) == sorted(FORMATS)
    data["images"][0]["file_name"] = "../evil.jpg"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"evil\.jpg"):
        export_pairs(ExportOptions("clips", ExportFormat.IMAGES, folder=clips, annotations=path, out=tmp_path / "out"))


def test_videos_of_one_frame_are_no_pairs(mini_pairs: Path, tmp_path: Path) -> None:
    """OVTrack's own file has both."""
    from ovforge.options.tracks import AnnotateOptions
    from ovforge.synthesis.tracks import annotate_pairs

    path = tmp_path / "mini.json"
    for options in ({"original": True}, {}):
        annotate_pairs(AnnotateOptions("mini", mini_pairs, out=path, overwrite=True, **options))
        out = tmp_path / "out"
        summary = export_pairs(
            ExportOptions("mini", ExportFormat.TAO, folder=mini_pairs, annotations=path, out=out, overwrite=True)
        )
        data = json.loads((out / "annotations/train.json").read_bytes())
        names = [image["file_name"] for image in data["images"]]
        assert len(set(names)) == len(names) == summary.counts["images"]
        stills = [drop.count for drop in summary.drops if drop.reason.startswith("has one frame")]
        assert stills == ([40] if options else [])


def test_two_videos_of_one_name_are_kept_apart(
    clips: Path, content: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    data = content("clips")
    data["videos"][0]["name"] = data["videos"][1]["name"] = "x"
    path = tmp_path / "clips.json"
    path.write_text(json.dumps(data))
    for to in ExportFormat:
        export_pairs(ExportOptions("clips", to, folder=clips, annotations=path, out=tmp_path / to.value))
    assert sorted(p.name for p in (tmp_path / "mot/clips-train").iterdir()) == ["x-7", "x-9"]
    with tarfile.open(tmp_path / "webdataset/clips-000000.tar") as shard:
        assert len(set(shard.getnames())) == len(shard.getnames()) == 10


def test_the_command_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mot"
    arguments = ["export", "mini", "--to", "mot", "--folder", str(pairs), "--out", str(out), "--json"]
    assert run_app(app, arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["outputs"] == {"mot": str(out)}
    assert summary["counts"]["videos"] == len(list((out / "mini-train").iterdir()))
    assert run_app(app, arguments) == 2
    assert "already exists" in capsys.readouterr().err
    assert run_app(app, ["export", "mini", "--to", "mot", "--folder", str(tmp_path)]) == 2
    assert "mini: there is no run of this name" in capsys.readouterr().err
    assert run_app(app, ["export", "mini", "--to", "xyz"]) == 2


@pytest.mark.parametrize("to", FORMATS)
def test_a_class_without_a_name_is_called_by_its_id(
    to: str, export: Export, content: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    data = content("clips")
    data["categories"][0] |= {"name": None, "synset": None}
    del data["categories"][1]["name"]
    path = tmp_path / "clips.json"
    path.write_text(json.dumps(data))
    out = export("clips", to, annotations=path)
    lists = [json.loads(file.read_bytes()) for file in out.rglob("*.json")]
    found = [one.get("categories") if isinstance(one, dict) else one for one in lists]
    for category in (category for classes in found for category in classes or () if isinstance(category, dict)):
        if "name" in category and "id" in category:
            assert category["name"] == {1: "1", 2: "2"}.get(category["id"], "x")
            assert "synset" not in category
    assert b"None" not in b"".join(file.read_bytes() for file in out.rglob("*.xml"))

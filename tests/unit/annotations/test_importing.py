"""`import`: the release formats of other data sets become the file that all steps take."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import ovforge
from ovforge.annotations.importing import import_annotations
from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.errors import AnnotationFileError, InputError, MissingInputError, NothingDoneError, OutputExistsError
from ovforge.options.importing import ImportKind, ImportOptions
from ovforge.records.reporting import StepSummary


def _load_release_files() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_files", Path(__file__).with_name("release_files.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


release = _load_release_files()


def imported(kind: ImportKind, annotations: Path, **more: Any) -> tuple[dict[str, Any], StepSummary]:
    out = annotations.parent / "own.json"
    summary = import_annotations(ImportOptions(kind, annotations, out, **more))
    COCO(str(out))  # a reader of COCO files takes it
    return json.loads(out.read_text()), summary


def imported_bytes(kind: ImportKind, annotations: Path) -> bytes:
    out = annotations.parent / "by_options.json"
    import_annotations(ImportOptions(kind, annotations, out))
    return out.read_bytes()


def pixels(segmentation: dict[str, Any]) -> np.ndarray:
    return coco_mask.decode({**segmentation, "counts": segmentation["counts"].encode()})


def test_lvis_minival_names_images_by_their_address(tmp_path: Path):
    path = release.lvis_minival(tmp_path)
    data, summary = imported(ImportKind.LVIS_MINIVAL, path)
    before = json.loads(path.read_text())
    assert data["images"][0]["file_name"] == "000000397133.jpg"
    assert data["images"][0]["neg_category_ids"] == [2]
    assert data["annotations"] == [{**before["annotations"][0], "iscrowd": 0}]
    assert data["categories"] == before["categories"]
    assert data["info"] == {"year": 2020}
    assert summary.counts == {"classes": 2, "images": 1, "annotations": 1}


def test_options_are_keywords_and_paths_may_be_text(tmp_path: Path):
    path, out = release.objects365(tmp_path), tmp_path / "own.json"
    summary = ovforge.importing.import_annotations("objects365", str(path), out=str(out))
    assert summary.paths["annotations"] == out
    assert out.read_bytes() == imported_bytes(ImportKind.OBJECTS365, path)
    with pytest.raises(InputError, match=r"kind='object365'.*\n.*did you mean objects365"):
        ovforge.importing.import_annotations(kind="object365", annotations=path, out=out)


def test_an_address_with_a_query_is_no_part_of_the_name(tmp_path: Path):
    path = release.lvis_minival(tmp_path)
    data = json.loads(path.read_text())
    data["images"][0]["coco_url"] += "?size=full#x"
    release.write(path, data)
    imported_data, _ = imported(ImportKind.LVIS_MINIVAL, path)
    assert imported_data["images"][0]["file_name"] == "000000397133.jpg"


def test_objects365_names_lie_below_the_folder_of_a_split(tmp_path: Path):
    data, summary = imported(ImportKind.OBJECTS365, release.objects365(tmp_path))
    assert [image["file_name"] for image in data["images"]] == [
        "patch8/objects365_v1_00420917.jpg",
        "patch16/objects365_v2_00908726.jpg",
    ]
    assert [a["id"] for a in data["annotations"]] == [1]
    assert data["annotations"][0]["isreflected"] == 1
    assert [(d.reason, d.examples) for d in summary.drops] == [("its box has no area", ("2",))]
    assert any("no masks" in note for note in summary.notes)


def test_v3det_says_that_a_name_stands_for_two_classes(tmp_path: Path):
    data, summary = imported(ImportKind.V3DET, release.v3det(tmp_path))
    assert [c["name_zh"] for c in data["categories"]] == ["老鼠", "鼠标"]
    assert any("1 class name stands for several classes (mouse)" in note for note in summary.notes)


def test_tao_keeps_videos_tracks_and_paths(tmp_path: Path):
    path = release.tao(tmp_path)
    data, summary = imported(ImportKind.TAO, path)
    assert data == json.loads(path.read_text())
    assert any("rectangles" in note for note in summary.notes)


def test_a_box_that_is_missing_is_that_of_the_mask(tmp_path: Path):
    path = release.lvis_minival(tmp_path)
    data = json.loads(path.read_text())
    data["annotations"][0].update(bbox=None, area=None)
    release.write(path, data)
    imported_data, _ = imported(ImportKind.LVIS_MINIVAL, path)
    assert (imported_data["annotations"][0]["bbox"], imported_data["annotations"][0]["area"]) == ([1, 1, 10, 10], 100)


def test_an_image_of_objects365_without_a_name_gets_none(tmp_path: Path):
    path = release.objects365(tmp_path)
    data = json.loads(path.read_text())
    data["images"][0].update(file_name=None, coco_url="http://host/patch8/a.jpg")
    release.write(path, data)
    imported_data, _ = imported(ImportKind.OBJECTS365, path)
    assert imported_data["images"][0] == data["images"][0]


@pytest.mark.parametrize("kind", [ImportKind.YOUTUBE_VIS, ImportKind.LV_VIS])
def test_youtube_vis_tracks_become_annotations_of_frames(tmp_path: Path, kind: ImportKind):
    path, masks = release.youtube_vis(tmp_path)
    data, summary = imported(kind, path)
    names = {image["id"]: image["file_name"] for image in data["images"]}
    assert list(names.values()) == [
        *(f"0043f083b5/{i:05d}.jpg" for i in (0, 5, 10)), *(f"0044fa5fba/{i:05d}.jpg" for i in (0, 5)),
    ]  # fmt: skip
    assert [image["frame_index"] for image in data["images"]] == [0, 1, 2, 0, 1]
    assert [video["name"] for video in data["videos"]] == ["0043f083b5", "0044fa5fba"]
    assert data["tracks"] == [
        {"id": 1, "category_id": 21, "video_id": 3},
        {"id": 2, "category_id": 22, "video_id": 4},
    ]
    frame = {image["id"]: image["frame_index"] for image in data["images"]}
    found = {(a["track_id"], frame[a["image_id"]]): a for a in data["annotations"]}
    assert found.keys() == masks.keys()
    for key, mask in masks.items():
        assert np.array_equal(pixels(found[key]["segmentation"]), mask)
        assert found[key]["area"] == mask.sum()
    assert found[1, 2]["bbox"] == [5, 3, 10, 8]
    assert [(d.kind, d.reason) for d in summary.drops] == [("mask", "is empty")]


def test_burst_sequences_become_frames_with_tracks_of_their_own(tmp_path: Path):
    path, masks = release.burst(tmp_path)
    data, _ = imported(ImportKind.BURST, path)
    assert [image["file_name"] for image in data["images"]] == [
        "HACS/a/frame0000.jpg", "HACS/a/frame0030.jpg", "HACS/b/frame0000.jpg",
    ]  # fmt: skip
    assert data["images"][0]["neg_category_ids"] == [3]
    assert [track["category_id"] for track in data["tracks"]] == [95, 4, 4]
    place = {image["id"]: image["file_name"] for image in data["images"]}
    shown = [(place[a["image_id"]], a["track_id"], a["category_id"]) for a in data["annotations"]]
    assert shown == [
        ("HACS/a/frame0000.jpg", 1, 95),
        ("HACS/a/frame0030.jpg", 1, 95),
        ("HACS/a/frame0030.jpg", 2, 4),
        ("HACS/b/frame0000.jpg", 3, 4),
    ]
    for annotation, mask in zip(data["annotations"], masks.values(), strict=True):
        assert np.array_equal(pixels(annotation["segmentation"]), mask)
        assert annotation["is_gt"] is True


def test_open_images_boxes_masks_and_absent_classes(tmp_path: Path):
    data, summary = imported(ImportKind.OPEN_IMAGES, **release.open_images(tmp_path))
    assert [(i["file_name"], i["width"], i["height"], i["neg_category_ids"]) for i in data["images"]] == [
        ("000002b66c9c498e.jpg", 40, 30, []),
        ("000002b97e5471a0.jpg", 40, 30, [2]),
    ]
    assert [(c["id"], c["name"], c["freebase_id"]) for c in data["categories"]] == [
        (1, "Tortoise", "/m/011k07"),
        (2, "Container", "/m/011q46kg"),
    ]
    with_mask, group = data["annotations"]
    assert with_mask["bbox"] == [10, 6, 20, 12]
    assert np.array_equal(pixels(with_mask["segmentation"]), release.rectangle(10, 6, 20, 12))
    assert with_mask["IsTruncated"] == 1
    assert (group["iscrowd"], group["bbox"]) == (1, [0, 0, 20, 30])
    assert {d.reason for d in summary.drops} == {
        "is not in the folder", "its image is not in the folder", "its box has no area",
    }  # fmt: skip
    assert summary.counts["annotations with a mask"] == 1


def test_open_images_without_masks(tmp_path: Path):
    files = release.open_images(tmp_path)
    data, summary = imported(
        ImportKind.OPEN_IMAGES, files["annotations"], images=files["images"], classes=files["classes"]
    )
    assert "segmentation" not in data["annotations"][0]
    assert any("no masks" in note for note in summary.notes)


def test_an_existing_output_is_kept(tmp_path: Path):
    path = release.tao(tmp_path)
    imported(ImportKind.TAO, path)
    with pytest.raises(OutputExistsError):
        imported(ImportKind.TAO, path)
    imported(ImportKind.TAO, path, overwrite=True)


class TestRefusals:
    """Nothing is written, and the message names the file and the place."""

    def refused(self, kind: ImportKind, path: Path, words: str, error: type[Exception] = AnnotationFileError) -> None:
        with pytest.raises(error, match=words):
            imported(kind, path)
        assert not (path.parent / "own.json").exists()

    def test_another_format(self, tmp_path: Path):
        self.refused(ImportKind.YOUTUBE_VIS, release.objects365(tmp_path), 'zhiyuan_objv2_val.json: has no "videos"')
        self.refused(ImportKind.TAO, release.burst(tmp_path)[0], 'train.json: has no "images"')

    def test_no_file(self, tmp_path: Path):
        self.refused(ImportKind.BURST, tmp_path / "no.json", "no.json", MissingInputError)

    @pytest.mark.parametrize(
        ("section", "number", "change", "words"),
        [
            ("images", 1, {"id": 11}, r"image number 2 \(byte [\d,]+\) has the id 11 of image number 1"),
            ("annotations", 0, {"image_id": 5}, 'image_id 5, which is not in "images"'),
            ("annotations", 0, {"category_id": 5000}, 'category_id 5000, which is not in "categories"'),
            (
                "annotations",
                0,
                {"bbox": ["1", 2, 3, 4]},
                r'annotation 1 has \["1",2,3,4\] as its bbox: .* four numbers',
            ),
            ("annotations", 0, {"bbox": [1, 2, 3]}, "four numbers"),
            ("categories", 0, {"name": 7}, "has 7 as its name"),
        ],
    )
    def test_what_a_later_step_would_refuse(
        self, tmp_path: Path, section: str, number: int, change: dict[str, Any], words: str
    ):
        path = release.objects365(tmp_path)
        data = json.loads(path.read_text())
        data[section][number].update(change)
        release.write(path, data)
        self.refused(ImportKind.OBJECTS365, path, words)

    def test_no_class(self, tmp_path: Path):
        for kind, path in (
            (ImportKind.LV_VIS, release.youtube_vis(tmp_path)[0]),
            (ImportKind.V3DET, release.v3det(tmp_path)),
        ):
            release.write(path, {**json.loads(path.read_text()), "categories": [], "annotations": []})
            self.refused(kind, path, "no class", NothingDoneError)

    @pytest.mark.parametrize("kind", [ImportKind.OBJECTS365, ImportKind.YOUTUBE_VIS, ImportKind.BURST])
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"\xef\xbb\xbf{}", "byte order mark"),
            ("{}".encode("utf-16"), "is UTF-16, not UTF-8"),
            (gzip.compress(b"{}", mtime=0), r"is compressed \(gzip\)"),
            (b"[]", "is a list at its top level"),
            (b'{"categories": [{"id": NaN}], "images": []}', "NaN at byte"),
            (b'{"categories": [{"id": 1, "name": "\xe9"}]}', "is not UTF-8: byte"),
            (b"<html></html>", "is a web page"),
        ],
    )
    def test_bytes_that_are_no_json(self, tmp_path: Path, kind: ImportKind, content: bytes, words: str):
        path = tmp_path / "a.json"
        path.write_bytes(content)
        self.refused(kind, path, words)

    def test_tracks_of_unknown_classes_and_ids_twice(self, tmp_path: Path):
        path, _ = release.youtube_vis(tmp_path)
        whole = json.loads(path.read_text())
        for section, change, words in (
            ("annotations", {"category_id": 99}, "annotation 2 has category_id 99"),
            ("annotations", {"id": 1}, "two annotations have the id 1"),
        ):
            data = json.loads(json.dumps(whole))
            data[section][1].update(change)
            release.write(path, data)
            self.refused(ImportKind.LV_VIS, path, words)
        release.write(path, {**whole, "videos": whole["videos"] * 2})
        self.refused(ImportKind.LV_VIS, path, "two videos have the id")
        path, _ = release.burst(tmp_path)
        data = json.loads(path.read_text())
        data["sequences"][0]["track_category_ids"] = dict.fromkeys(data["sequences"][0]["track_category_ids"], 99)
        release.write(path, data)
        self.refused(ImportKind.BURST, path, "track .* has category_id 99")

    def test_a_track_with_too_few_masks(self, tmp_path: Path):
        path, _ = release.youtube_vis(tmp_path)
        data = json.loads(path.read_text())
        del data["annotations"][0]["segmentations"][0]
        release.write(path, data)
        self.refused(ImportKind.LV_VIS, path, "annotation 1 has 2 masks, its video 3 has 3 frames")

    def test_a_track_of_no_video(self, tmp_path: Path):
        path, _ = release.youtube_vis(tmp_path)
        data = json.loads(path.read_text())
        data["annotations"][1]["video_id"] = 99
        release.write(path, data)
        self.refused(ImportKind.LV_VIS, path, "annotation 2 has video_id 99")

    def test_a_mask_of_another_size(self, tmp_path: Path):
        path, _ = release.youtube_vis(tmp_path)
        data = json.loads(path.read_text())
        data["annotations"][0]["segmentations"][2]["size"] = [30, 41]
        release.write(path, data)
        self.refused(ImportKind.LV_VIS, path, r"annotation 1, frame 2: not a mask: its size \[30, 41\]")

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            ({"size": None, "counts": "a"}, "its size None"),
            ({"size": [30, 40], "counts": [5, 6]}, "do not fill the image"),
            ({"size": [30, 40], "counts": ["5"]}, "do not fill the image"),
            ({"size": [30, 40], "counts": "\u20ac"}, "RLE"),
            ({"size": [30, 40]}, "RLE without counts"),
            ([5], "polygon that is not a list"),
        ],
    )
    def test_what_is_no_mask(self, tmp_path: Path, mask: Any, words: str):
        path, _ = release.youtube_vis(tmp_path)
        data = json.loads(path.read_text())
        data["annotations"][0]["segmentations"][2] = mask
        release.write(path, data)
        self.refused(ImportKind.LV_VIS, path, f"annotation 1, frame 2: not a mask: .*{words}")

    def test_an_entry_of_burst_that_is_no_object(self, tmp_path: Path):
        path, _ = release.burst(tmp_path)
        data = json.loads(path.read_text())
        frame = data["sequences"][0]["segmentations"][0]
        frame[next(iter(frame))] = "rle"
        release.write(path, data)
        self.refused(ImportKind.BURST, path, "sequence .*, frame 0, track .*: it needs")

    def test_nothing_left(self, tmp_path: Path):
        path = release.objects365(tmp_path)
        data = json.loads(path.read_text())
        data["annotations"] = data["annotations"][1:]
        release.write(path, data)
        self.refused(ImportKind.OBJECTS365, path, "it has no usable annotations")

    def test_a_null_among_the_records(self, tmp_path: Path):
        path = release.objects365(tmp_path)
        data = json.loads(path.read_text())
        data["annotations"].insert(1, None)
        release.write(path, data)
        self.refused(ImportKind.OBJECTS365, path, "zhiyuan_objv2_val.json: .*annotation")

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ("000002b66c9c498e,x,/m/unknown,1,0.1,0.2,0.1,0.2", "line 6: /m/unknown is not among the classes"),
            ("000002b66c9c498e,x,/m/011k07,1,10,20,10,20", "line 6: the corners .* are not shares"),
            ("000002b66c9c498e,x,/m/011k07,1,a,0.2,0.1,0.2", "line 6: the corners are not numbers"),
            ("000002b66c9c498e,x,/m/0", "line 6: too few columns"),
            ("000002b66c9c498e,x,/m/011k07,1,0.1,0.2,0.1,0.2,yes,0,0,0,0", "line 6: IsOccluded is 'yes'"),
            ('000002b66c9c498e,"' + "x" * 200_000, "is not a CSV file as OpenImages has them"),
        ],
    )
    def test_a_bad_row_of_open_images(self, tmp_path: Path, row: str, words: str):
        files = release.open_images(tmp_path)
        with files["annotations"].open("a") as file:
            file.write(row + "\n")
        with pytest.raises(AnnotationFileError, match=words):
            imported(ImportKind.OPEN_IMAGES, **files)
        assert not (tmp_path / "own.json").exists()

    def test_a_label_of_open_images_without_a_number(self, tmp_path: Path):
        files = release.open_images(tmp_path)
        with files["image_labels"].open("a") as file:
            file.write("000002b97e5471a0,verification,/m/011k07,\n")
        with pytest.raises(AnnotationFileError, match="line 4: Confidence is ''"):
            imported(ImportKind.OPEN_IMAGES, **files)

    def test_open_images_in_the_wrong_folder(self, tmp_path: Path):
        files = release.open_images(tmp_path)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="none of the 3 images that train-annotations-bbox"):
            imported(ImportKind.OPEN_IMAGES, **{**files, "images": tmp_path / "empty"})

    def test_options_that_do_not_belong_together(self, tmp_path: Path):
        with pytest.raises(InputError, match=r"images=\.\.\.: only OpenImages"):
            ImportOptions(ImportKind.TAO, tmp_path / "a", tmp_path / "b", images=tmp_path)
        with pytest.raises(InputError, match="boxes as shares"):
            ImportOptions(ImportKind.OPEN_IMAGES, tmp_path / "a", tmp_path / "b")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    path = release.objects365(tmp_path)
    out = tmp_path / "own.json"
    monkeypatch.setattr(sys, "argv", ["ovforge", "import", "objects365", str(path), "--out", str(out), "--json"])
    assert run_app(app) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["images"] == 2
    monkeypatch.setattr(sys, "argv", ["ovforge", "import", "burst", str(path), "--out", str(tmp_path / "x.json")])
    assert run_app(app) == 2
    assert 'has no "sequences"' in capsys.readouterr().err

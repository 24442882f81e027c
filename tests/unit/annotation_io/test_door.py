"""The door: one rule for every step on what an annotation file has to be."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovforge import parallel
from ovforge.annotation_io import json_windows
from ovforge.annotation_io.door import open_annotations, open_captions, read_table
from ovforge.annotation_io.image_names import bare_name, coco_name, name_with_folder
from ovforge.annotation_io.schema import MAX_ID, SECTIONS, Fields, record_decoder
from ovforge.annotation_io.segmentation import mask_extent
from ovforge.errors import AnnotationFileError, MissingInputError

SQUARE = [[10, 10, 50, 10, 50, 40, 10, 40]]


def data() -> dict[str, Any]:
    return {
        "images": [{"id": 1, "width": 64, "height": 48, "file_name": "a.jpg"}, {"id": 2, "width": 64, "height": 48,
                    "coco_url": "http://x/train2017/b.jpg"}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 3, "bbox": [10, 10, 40, 30], "area": 1200.5, "iscrowd": 0,
             "segmentation": SQUARE},
            {"id": 6, "image_id": 2, "category_id": 4, "bbox": [1, 2, 3, 4.5], "area": 13, "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "cat", "frequency": "r", "synset": "cat.n.01"}],
    }  # fmt: skip


REACH = f"ids reach from {-MAX_ID} to {MAX_ID}"
EVERYTHING: dict[str, Any] = {
    "images": ("name", "width", "height", "neg_category_ids"),
    "annotations": ("bbox", "area", "iscrowd"),
    "categories": ("name", "frequency"),
}


@pytest.fixture(params=["one window", "tiny windows", "workers"], autouse=True)
def windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read through one window, through very many, and by worker processes: the answer is the same."""
    if request.param != "one window":
        monkeypatch.setattr(json_windows, "WINDOW_BYTES", 100)
    if request.param == "workers":
        monkeypatch.setattr(parallel, "SMALL_BYTES", 0)
        monkeypatch.setattr(parallel, "cpu_count", lambda: 2)


def written(folder: Path, change: Callable[[Any], object] | None = None) -> Path:
    content = data()
    if change is not None:
        change(content)
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


def column(folder: Path, section: str, field: str, value: Any, *, key: str | None = None) -> Any:
    """The column `field` where the first record has `value` in the file."""
    path = written(folder, lambda d: d[section][0].update({key or field: value}))
    with open_annotations(path, **EVERYTHING) as opened:
        return getattr(opened, section)[field][0]


def test_fields_come_as_columns(tmp_path: Path) -> None:
    with open_annotations(written(tmp_path), **EVERYTHING) as opened:
        assert opened.images["name"].tolist() == ["a.jpg", "b.jpg"]
        assert opened.annotations["area"].tolist() == [1200.5, 13]
        assert opened.annotations["bbox"].tolist() == [[10, 10, 40, 30], [1, 2, 3, 4.5]]
        assert opened.annotations["iscrowd"].tolist() == [0, 1]
        assert opened.images["neg_category_ids"].tolist() == [[], []]
        assert opened.categories["frequency"].tolist() == ["", "r"]
        assert json.loads(opened.annotations.raw(1))["id"] == 6
        assert opened.filled_in(np.arange(2)) == {}


@pytest.mark.parametrize(
    ("section", "field", "value", "read"),
    [
        ("images", "width", 640.0, 640),
        ("images", "id", 1.0, 1),
        ("annotations", "image_id", 1.0, 1),
        ("annotations", "iscrowd", False, 0),
        ("annotations", "iscrowd", True, 1),
        ("annotations", "iscrowd", None, 0),
        ("annotations", "iscrowd", 0.0, 0),
        ("annotations", "area", 7, 7.0),
        ("images", "neg_category_ids", None, []),
        ("images", "neg_category_ids", [3.0, 4], [3, 4]),
        ("categories", "frequency", None, ""),
        ("images", "name", "a/z.jpg", "z.jpg"),
        ("images", "name", "a\\c.jpg", "c.jpg"),
        ("images", "name", "C:\\data\\d.jpg", "d.jpg"),
        ("images", "name", "../e.jpg", "e.jpg"),
    ],
)
def test_values_that_mean_the_same_are_the_same(
    tmp_path: Path, section: str, field: str, value: Any, read: Any
) -> None:
    found = column(tmp_path, section, field, value, key="file_name" if field == "name" else None)
    assert found == read
    assert type(found.item() if hasattr(found, "item") else found) is type(read)


def test_a_null_name_leaves_the_address_and_the_other_way_round(tmp_path: Path) -> None:
    path = written(tmp_path, lambda d: (d["images"][0].update(coco_url=None), d["images"][1].update(file_name=None)))
    assert read_table(path, "images", "name")["name"].tolist() == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("section", "field", "value", "told"),
    [
        ("annotations", "iscrowd", "0", 'has "0" as its iscrowd: it needs 0 or 1'),
        ("annotations", "area", "1200", 'has "1200" as its area: it needs a number, such as 5120.75'),
        ("annotations", "area", True, "has true as its area"),
        ("annotations", "bbox", [1, 2, 3], "has [1, 2, 3] as its bbox: it needs four numbers: x, y, width, height"),
        ("annotations", "bbox", {"x": 1}, 'has {"x": 1} as its bbox'),
        ("annotations", "category_id", None, "has null as its category_id: it needs a whole number, such as 18"),
        ("annotations", "category_id", 3.5, "has 3.5 as its category_id"),
        ("annotations", "id", True, "has true as its id"),
        ("images", "width", None, "has null as its width: it needs a whole number of pixels, 1 or more, such as 640"),
        ("images", "width", 0, "has 0 as its width"),
        ("images", "height", -3, "has -3 as its height"),
        ("images", "width", 2**40, "as its width"),
        ("images", "neg_category_ids", [3, None], "has a list with null at place 2 as its neg_category_ids"),
        ("images", "neg_category_ids", [[3]], "has a list with [3] at place 1 as its neg_category_ids"),
        ("images", "neg_category_ids", 3, "has 3 as its neg_category_ids: it needs a list of whole numbers"),
        ("images", "file_name", 7, "has 7 as its file_name: it needs text"),
        ("images", "file_name", "", "has neither file_name nor coco_url"),
        ("images", "file_name", "a/..", "has no usable file name ('..')"),
        ("images", "file_name", "a/", "has no usable file name ('')"),
        ("images", "file_name", "__records__", "has no usable file name"),
        ("images", "file_name", "a\n.jpg", "has no usable file name"),
        ("images", "file_name", "\u00e9" * 126 + ".jpg", "has no usable file name"),
        ("categories", "name", 7, "has 7 as its name"),
        (
            "images",
            "id",
            2**62,
            f"has {2**62} as its id: it needs a whole number, such as 391895; {REACH}",
        ),
        ("images", "id", 2**63, REACH),
        ("images", "id", -(2**80), REACH),
        ("annotations", "id", 10**30, REACH),
        ("images", "neg_category_ids", [2**64], REACH),
    ],
)
def test_what_cannot_be_used_is_named_with_record_need_and_example(
    tmp_path: Path, section: str, field: str, value: Any, told: str
) -> None:
    path = written(tmp_path, lambda d: d[section][0].update({field: value}))
    with pytest.raises(AnnotationFileError) as caught:
        open_annotations(path, **EVERYTHING)
    record = {"images": "image", "annotations": "annotation", "categories": "category"}[section]
    byte = path.read_text().index(f'"{section}": [') + len(f'"{section}": [')
    assert caught.value.message.startswith(f"{path}: {record} number 1 (byte {byte:,}) ")
    assert told in caught.value.message


def test_numbers_beyond_all_bounds_are_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("1200.5", "1e999"))
    with pytest.raises(AnnotationFileError, match="has 1e999 as its area"):
        open_annotations(path, **EVERYTHING)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["images"][0].update(width="640", license=[None]),
        lambda d: d["annotations"][0].update(area="x", iscrowd="y", bbox=None, track_id="z"),
        lambda d: d["categories"][0].update(frequency=3, name=None, image_count="many"),
        lambda d: d.update(videos="none", info=None, licenses=[None, 1]),
        lambda d: d["images"][0].update(neg_category_ids="all"),
    ],
)
def test_what_a_step_does_not_use_is_not_looked_at(tmp_path: Path, change: Callable[[Any], object]) -> None:
    path = written(tmp_path, change)
    with open_annotations(path, images=("name",), annotations=(), categories=()) as opened:
        assert len(opened.annotations) == 2
        assert json.loads(opened.file.value("images")) == json.loads(path.read_text())["images"]


def test_sections_that_are_not_used_may_be_away(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": data()["images"]}))
    assert read_table(path, "images", "name")["name"].tolist() == ["a.jpg", "b.jpg"]
    with pytest.raises(AnnotationFileError, match=r'has no "annotations"'):
        open_annotations(path, images=(), annotations=())
    path.write_text(json.dumps({"images": data()["images"], "annotations": None}))
    with pytest.raises(AnnotationFileError, match=r'"annotations" \(byte \d+\) is null'):
        open_annotations(path, images=(), annotations=())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["images"][1].update(id=1), "image number 2 .* has the id 1 of image number 1"),
        (lambda d: d["annotations"][1].update(id=5), "annotation number 2 .* has the id 5 of annotation number 1"),
        (lambda d: d["categories"][1].update(id=3), "category number 2 .* has the id 3 of category number 1"),
        (lambda d: d["annotations"][1].update(image_id=9), 'number 2 .* image_id 9, which is not in "images"'),
        (lambda d: d["annotations"][1].update(category_id=9), 'category_id 9, which is not in "categories"'),
        (lambda d: d["images"][1].update(file_name="a.jpg"), r"has the file name a\.jpg of image number 1"),
        (lambda d: d["annotations"].insert(1, None), "annotation number 2 .* is null"),
        (lambda d: d["annotations"].insert(0, None), "annotation number 1 .* is null"),
        (lambda d: d["images"].append([]), "image number 3 .* is a list"),
    ],
)  # fmt: skip
def test_records_fit_together(tmp_path: Path, change: Callable[[Any], object], told: str) -> None:
    with pytest.raises(AnnotationFileError, match=told):
        open_annotations(written(tmp_path, change), **EVERYTHING)


def test_images_of_one_name_are_told_apart_by_folder_where_folders_count(tmp_path: Path) -> None:
    path = written(tmp_path, lambda d: [
        image.update(file_name=f"train/{folder}/1.jpg") for image, folder in zip(d["images"], "AB", strict=True)
    ])  # fmt: skip
    assert read_table(path, "images", "folder_name")["folder_name"].tolist() == ["A/1.jpg", "train2017/b.jpg"]
    assert read_table(path, "images", "name")["name"].tolist() == ["train__A__1.jpg", "train__B__1.jpg"]
    assert read_table(path, "images", "frame_name")["frame_name"].tolist() == ["1.jpg", "1.jpg"]


def test_names() -> None:
    assert bare_name("", "http://x/train2017/1.jpg?token=a/b") == "1.jpg"
    assert bare_name("", "http://x/train2017/1.jpg#part") == "1.jpg"
    assert bare_name("what?.jpg") == "what?.jpg"
    assert name_with_folder("http://x/train2017/1.jpg") == "train2017/1.jpg"
    assert name_with_folder("1.jpg") == "1.jpg"
    assert name_with_folder("data\\train2017\\1.jpg") == "train2017/1.jpg"
    assert coco_name("COCO_val2014_000000000042.jpg") == "000000000042.jpg"
    assert coco_name("data/000000000042.png") == "000000000042.png"
    assert coco_name("a/very_long_name_of_an_image.jpg") == "very_long_name_of_an_image.jpg"


@pytest.mark.parametrize("nothing", ["missing", "null"])
def test_a_missing_area_or_box_is_the_mask_s(tmp_path: Path, nothing: str) -> None:
    def change(d: Any) -> None:
        for field in ("area", "bbox"):
            if nothing == "null":
                d["annotations"][0][field] = None
            else:
                del d["annotations"][0][field]
        d["annotations"][1]["area"] = None

    with open_annotations(written(tmp_path, change), **EVERYTHING) as opened:
        assert opened.annotations["area"].tolist() == [1200, 13.5]  # the second has no mask: its box's
        assert opened.annotations["bbox"].tolist() == [[10, 10, 40, 30], [1, 2, 3, 4.5]]
        assert opened.filled_in(np.array([1, 0])) == {
            "area": [b"13.5", b"1200.0"],
            "bbox": [None, b"[10.0,10.0,40.0,30.0]"],
        }
    with open_annotations(written(tmp_path, change), images=(), annotations=("area",)) as opened:
        assert opened.annotations["area"].tolist() == [1200, 13.5]


def test_a_box_without_a_mask_to_take_it_from_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, lambda d: d["annotations"][1].pop("bbox"))
    with pytest.raises(AnnotationFileError, match=r"annotation number 2 .* has no bbox, and no mask to take it from"):
        open_annotations(path, **EVERYTHING)


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [
        (SQUARE, 1200),
        ({"size": [48, 64], "counts": [0, 10, 48 * 64 - 10]}, 10),
        ([], None),
        ([[1, 2, 3, 4]], None),
        ([[[10, 10], [50, 10], [50, 40]]], None),
        ({"size": [48, 64], "counts": [1]}, None),
        ({"size": [2**40, 2**40], "counts": [1]}, None),
        ([[1e9, 1e9, 2e9, 2e9, 3e9, 1e9]], None),
        ("text", None),
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (0, 0)])
def test_the_extent_of_masks(segmentation: Any, area: int | None, size: tuple[int, int]) -> None:
    extent = mask_extent(segmentation, *size)
    assert (extent.area if extent is not None else None) == area


def test_a_record_in_another_form_is_brought_into_the_usual_one() -> None:
    canonical = record_decoder(Fields("annotations", ("id", "image_id", "iscrowd", "area"))).canonical
    usual = b'{"id":5,  "x": 1.50, "image_id": 1, "area": 3}'
    assert canonical(usual) is usual
    odd = b'{"id": 5.0, "x": {"id": 1.0}, "image_id": 1, "iscrowd": false, "area": null, "y": 1.50}'
    assert canonical(odd) == b'{"id": 5, "x": {"id": 1.0}, "image_id": 1, "iscrowd": 0, "y": 1.50}'


class TestCaptions:
    def captions(self, folder: Path, *records: dict[str, Any]) -> Path:
        path = folder / "captions.json"
        path.write_text(json.dumps({"annotations": records}))
        return path

    def test_captions_by_image(self, tmp_path: Path) -> None:
        path = self.captions(
            tmp_path,
            {"id": 1, "image_id": 2, "caption": "b"},
            {"image_id": 9, "caption": "other"},
            {"id": "x", "image_id": 2.0, "caption": "c"},
            {"image_id": 1, "caption": None},
        )
        index = open_captions(path, np.array([1, 2])).of(np.array([1, 2]))
        assert [json.loads(record)["caption"] for record in index.records(1)] == ["b", "c"]
        assert index.records(0) == []
        assert index.empty == 1

    def test_of_other_images(self, tmp_path: Path) -> None:
        path = self.captions(tmp_path, {"id": 1, "image_id": 999, "caption": "b"})
        with pytest.raises(AnnotationFileError, match="none of its 1 captions is of an image of the annotation file"):
            open_captions(path, np.array([1, 2]))

    def test_no_captions_file(self, tmp_path: Path) -> None:
        path = self.captions(tmp_path, {"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]})
        with pytest.raises(AnnotationFileError, match=r'has no "caption" in any of its 1 annotations'):
            open_captions(path, np.array([1, 2]))

    def test_an_empty_list_says_that_there_are_none(self, tmp_path: Path) -> None:
        assert open_captions(self.captions(tmp_path), np.array([1, 2])).of(np.array([1, 2])).empty == 2


WHOLE = json.dumps(data()).encode()
FIRST = WHOLE.index(b'{"id": 5')
LATIN = json.dumps(data()).encode().replace(b"dog", "caf\u00e9".encode("latin-1"))
OTHER_BYTES = {
    "latin-1 in a field that is used": (LATIN, f"is not UTF-8: byte {LATIN.index(0xE9):,} is 0xe9"),
    "latin-1 in a field that is not": (
        WHOLE.replace(b'"id": 5', b'"note": "\xff", "id": 5'),
        f"is not UTF-8: byte {FIRST + 10} is 0xff, in annotation number 1 (byte {FIRST})",
),
    "latin-1 in a section that is not used": (b'{"info": {"by": "\xe9"}, ' + WHOLE[1:], "byte 17 is 0xe9"),
    "latin-1 in records that are not used": (b'{"licenses": [{"a": "\xe9"}], ' + WHOLE[1:], "byte 21 is 0xe9"),
    "a key": (b'{"\xe9": 1, ' + WHOLE[1:], "is not UTF-8: byte 2"),
    "a key of a record": (WHOLE.replace(b'"id": 5', b'"\xe9": 1, "id": 5'), "is not UTF-8"),
    "NaN": (WHOLE.replace(b"1200.5", b"NaN"), f"annotation number 1 (byte {FIRST}) is not JSON: NaN at byte"),
    "NaN not used": (WHOLE.replace(b'"id": 5', b'"note": NaN, "id": 5'), f"NaN at byte {FIRST + 9}: JSON has no such"),
    "-Infinity": (WHOLE.replace(b"1200.5", b"-Infinity"), "Infinity at byte"),
    "NaN elsewhere": (b'{"info": {"n": [NaN]}, ' + WHOLE[1:], "NaN at byte 16"),
    "NaN at the top": (b'{"n": NaN, ' + WHOLE[1:], "NaN at byte 6"),
    "NaN in other records": (b'{"licenses": [{"a": NaN}], ' + WHOLE[1:], "NaN at byte 20"),
    "None": (WHOLE.replace(b"1200.5", b"None"), "None at byte"),
    "single quotes": (str(data()).encode(), "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE, "byte order mark (byte 0)"),
    "UTF-16": (WHOLE.decode().encode("utf-16"), "is UTF-16, not UTF-8: it starts with a byte order mark (byte 0)"),
    "UTF-16 without mark": (WHOLE.decode().encode("utf-16-le"), "is UTF-16, not UTF-8: byte 1 is 0"),
    "UTF-16 big end": (WHOLE.decode().encode("utf-16-be"), "is UTF-16, not UTF-8: byte 0 is 0"),
    "UTF-32": (WHOLE.decode().encode("utf-32"), "is UTF-32, not UTF-8: it starts with a byte order mark"),
    "UTF-32 without mark": (WHOLE.decode().encode("utf-32-le"), "is UTF-32, not UTF-8: byte 1 is 0"),
    "gzip": (gzip.compress(WHOLE), "is compressed (gzip)"),
    "zip": (b"PK\x03\x04" + WHOLE, "is compressed (zip)"),
    "bzip2": (b"BZh91AY", "is compressed (bzip2)"),
    "xz": (b"\xfd7zXZ\x00", "is compressed (xz)"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "is compressed (zstd)"),
    "web page": (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page (HTML), not JSON, from byte 1"),
    "XML": (b"<?xml version='1.0'?><Error/>", "is XML or HTML"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "list": (b"[" + WHOLE + b"]", "is a list at its top level (byte 0)"),
    "lines": (b'{"id": 1}\n{"id": 2}\n', "there is more after the end, from byte 10"),
    "empty": (b"", "is empty"),
    "white space": (b" \n\t" * 3000, "is empty but for white space"),
    "number": (b"12", "is not JSON: no object starts at byte 0"),
    "cut": (WHOLE[:-40], "cut short"),
    "half a character": (WHOLE[:-40] + b"\xc3", "byte"),
    "surrogate": (WHOLE.replace(b"dog", b"\\ud800"), "surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("data", [value for value, _ in OTHER_BYTES.values()], ids=OTHER_BYTES)
def test_other_bytes_are_named_with_file_and_byte(tmp_path: Path, data: bytes, request: pytest.FixtureRequest) -> None:
    told = next(told for value, told in OTHER_BYTES.values() if value is data)
    path = tmp_path / "a.json"
    path.write_bytes(data)
    for fields in (EVERYTHING, {"categories": ()}, {"images": ("name",)}, {"annotations": ()}):
        with pytest.raises(AnnotationFileError) as caught:
            open_annotations(path, **fields)  # type: ignore[arg-type]
        assert str(path) in caught.value.message
        assert told in caught.value.message


def test_text_in_any_script_is_read(tmp_path: Path) -> None:
    content = data()
    content["categories"][0]["name"] = "chien \u00e9\u2028\U0001f600"
    content["images"][0]["file_name"] = "\u732b/\u72ac.jpg"
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    with open_annotations(path, **EVERYTHING) as opened:
        assert opened.categories["name"][0] == "chien \u00e9\u2028\U0001f600"
        assert opened.images["name"][0] == "\u72ac.jpg"


def test_a_file_that_is_not_there_or_none(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"nowhere\.json"):
        open_annotations(tmp_path / "nowhere.json", images=())
    with pytest.raises(AnnotationFileError, match=r"cannot be read \(it is a folder"):
        open_annotations(tmp_path, images=())
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AnnotationFileError, match=r"cannot be read \(it is a pipe"):
        open_annotations(tmp_path / "pipe", images=())


def test_every_field_has_an_example_that_fits() -> None:
    for section, fields in SECTIONS.items():
        for name, field in fields.items():
            if name == "motion":
                continue
            record = f'[{{"{name}": {field.example}}}]'.encode()
            decoder = record_decoder(Fields(section, (name,)))
            assert getattr(decoder.decode(record)[0], name) == field.kind.convert(json.loads(field.example))

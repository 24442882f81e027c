"""Drawing exemplars of all classes from a dictionary."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovforge.errors import (
    AnnotationFileError,
    InputError,
    MissingInputError,
    NothingDoneError,
    OutputExistsError,
    ShortageError,
)
from ovforge.exemplars import sample_exemplars
from ovforge.options.exemplars import SampleOptions, Shortage


def lvis(number: int, width: float = 40.0, name: str = "train2017/000000000009.jpg") -> dict[str, Any]:
    return {
        "area": 1.0,
        "id": number,
        "image_id": 9,
        "bbox": [0.0, 0.0, width, 10.0],
        "category_id": 1,
        "dataset": "lvis",
        "file_name": name,
        "synset": "a.n.01",
    }


def imagenet(number: int) -> dict[str, Any]:
    name = f"train/n00000001/n00000001_{number}.JPEG"
    return {"file_name": name, "category_id": 1, "dataset": "imagenet21k", "synset": "a.n.01"}


def genome(number: int, file: str = "VG_100K/5.jpg") -> dict[str, Any]:
    return {
        "image_id": 5,
        "dataset": "visual_genome",
        "file_name": file,
        "category_id": 1,
        "synset": "a.n.01",
        "synsets": ["a.n.01"],
        "h": 30,
        "object_id": number,
        "w": 20,
        "y": 0,
        "x": 0,
    }


class Files:
    """A dictionary and a category file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out" / "drawn.json"

    def options(self, exemplars: Any, categories: list[dict[str, Any]] | None = None, **more: Any) -> SampleOptions:
        (self.folder / "dict.json").write_text(exemplars if isinstance(exemplars, str) else json.dumps(exemplars))
        listed = categories or [{"id": 1, "name": "a", "synset": "a.n.01"}]
        (self.folder / "lvis.json").write_text(json.dumps({"images": [], "annotations": [], "categories": listed}))
        return SampleOptions(self.folder / "dict.json", self.folder / "lvis.json", self.output, **more)

    def drawn(self) -> Any:
        return json.loads(self.output.read_text())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("meta", "k", "seed", "expected"),
    [
        ("min5", 5, 42, "K-005_mmovod_min5"),
        ("min5", 5, 7, "K-005_mmovod_min5_seed7"),
        ("min1", 5, 42, "K-005_ovmr_min1"),
        ("min1", 30, 42, "K-030_ovmr_min1"),
    ],
)
def test_files_of_the_originals_to_the_byte(
    unpacked: Callable[[str], Path], tmp_path: Path, *, meta: str, k: int, seed: int, expected: str
) -> None:
    options = SampleOptions(
        unpacked("collate_exemplar_dict/exemplar_dict.sorted.json.gz"),
        unpacked(f"sample_exemplars/input_lvis_meta_{meta}.json.gz"),
        tmp_path / "drawn.json",
        k=k,
        seed=seed,
        shortage=Shortage.REDRAW,
    )
    sample_exemplars(options)
    original = unpacked(f"sample_exemplars/lvis_image_exemplar_dict_{expected}.json.gz")
    assert options.output.read_bytes() == original.read_bytes()


def test_area_is_what_was_drawn_by(files: Files) -> None:
    sample_exemplars(files.options({"a.n.01": [lvis(1), imagenet(2), genome(3)]}, k=3))
    areas = {each["dataset"]: each["area"] for each in files.drawn()[0]}
    assert areas == {"lvis": 400.0, "imagenet21k": 10000.0, "visual_genome": 600.0}
    last_keys = {each["dataset"]: list(each)[-1] for each in files.drawn()[0]}
    assert last_keys == {"lvis": "synset", "imagenet21k": "area", "visual_genome": "area"}


def test_classes_come_in_the_order_of_their_ids_whatever_the_files_order(files: Files) -> None:
    categories = [{"id": 9, "name": "b", "synset": "b.n.01"}, {"id": 2, "name": "a", "synset": "a.n.01"}]
    sample_exemplars(files.options({"b.n.01": [genome(1)], "a.n.01": [imagenet(1)]}, categories, k=1))
    assert [row[0]["dataset"] for row in files.drawn()] == ["imagenet21k", "visual_genome"]


def test_short_and_empty_classes_are_named(files: Files) -> None:
    categories = [
        {"id": 1, "name": "a", "synset": "a.n.01"},
        {"id": 2, "name": "b", "synset": "b.n.01"},
        {"id": 3, "name": "c", "synset": "c.n.01"},
    ]
    summary = sample_exemplars(files.options({"a.n.01": [lvis(1), lvis(2)], "b.n.01": []}, categories, k=3))
    assert [len(row) for row in files.drawn()] == [3, 0, 0]
    assert len({each["id"] for each in files.drawn()[0][:2]}) == 2
    assert "a.n.01 (2), b.n.01 (0), c.n.01 (0)" in summary.notes[0]
    assert summary.drops[0].examples == ("b.n.01", "c.n.01")
    assert summary.counts["empty classes"] == 2


def test_shortage_error_names_the_classes_and_writes_nothing(files: Files) -> None:
    with pytest.raises(ShortageError, match=r"fewer than 3 exemplars: a\.n\.01 \(2\)"):
        sample_exemplars(files.options({"a.n.01": [lvis(1), lvis(2)]}, k=3, shortage=Shortage.ERROR))
    assert not files.output.exists()


def test_fewer_keeps_what_there_is(files: Files) -> None:
    sample_exemplars(files.options({"a.n.01": [lvis(1), lvis(2)]}, k=3, shortage=Shortage.FEWER))
    assert sorted(each["id"] for each in files.drawn()[0]) == [1, 2]


def test_boxes_without_area_are_reported(files: Files) -> None:
    summary = sample_exemplars(files.options({"a.n.01": [lvis(1), lvis(2, width=0.0)]}, k=2))
    assert [each["id"] for each in files.drawn()[0]] == [1, 1]
    assert summary.drops[0].reason == "its box has no area"


def test_nested_draws_contain_each_other(files: Files) -> None:
    exemplars = {"a.n.01": [lvis(number, 10.0 + number) for number in range(40)]}
    rows = {}
    for k in (5, 30):
        sample_exemplars(files.options(exemplars, k=k, nested=True, overwrite=True))
        rows[k] = [each["id"] for each in files.drawn()[0]]
    assert rows[30][:5] == rows[5]
    assert len(set(rows[30])) == 30


def test_nested_cannot_redraw(files: Files) -> None:
    with pytest.raises(InputError, match="nested"):
        sample_exemplars(files.options({"a.n.01": [lvis(1)]}, nested=True, shortage=Shortage.REDRAW))


def test_with_names_is_keyed_by_synset(files: Files) -> None:
    sample_exemplars(files.options({"a.n.01": [lvis(1)]}, k=1, with_names=True))
    assert list(files.drawn()) == ["a.n.01"]
    twice = [{"id": 1, "name": "a", "synset": "a.n.01"}, {"id": 2, "name": "b", "synset": "a.n.01"}]
    with pytest.raises(AnnotationFileError, match="two categories have the synset a"):
        sample_exemplars(files.options({"a.n.01": [lvis(1)]}, twice, k=1, with_names=True, overwrite=True))


def test_a_number_that_no_float_holds_keeps_its_bytes(files: Files) -> None:
    options = files.options({"a.n.01": [{**lvis(1), "note": "@"}]}, k=1)
    options.exemplars.write_text(options.exemplars.read_text().replace('"@"', "1e400"))
    sample_exemplars(options)
    text = options.output.read_text()
    assert '"note": 1e400' in text
    assert json.loads(text)[0][0]["area"] == json.loads(text)[0][0]["bbox"][2] * json.loads(text)[0][0]["bbox"][3]


class TestExclude:
    """No image of the excluded file becomes an exemplar."""

    EXEMPLARS = (
        lvis(1, name="train2017/000000000009.jpg"),
        lvis(2, name="train2017/000000000010.jpg"),
        genome(3, "VG_100K/5.jpg"),
        genome(4, "VG_100K/6.jpg"),
        imagenet(5),
    )

    def options(self, files: Files, images: list[dict[str, Any]], **more: Any) -> SampleOptions:
        path = files.folder / "val.json"
        path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
        return files.options({"a.n.01": list(self.EXEMPLARS)}, exclude=path, shortage=Shortage.FEWER, **more)

    @pytest.mark.parametrize(
        "image",
        [
            {"id": 9, "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg"},
            {"id": 9, "file_name": "COCO_train2014_000000000009.jpg"},
            {"id": 9, "file_name": "train2017/000000000009.jpg"},
        ],
    )
    def test_lvis_images_and_their_visual_genome_copies(self, files: Files, image: dict[str, Any]) -> None:
        genome_dir = files.folder / "vg"
        genome_dir.mkdir()
        listed = [
            {"image_id": 5, "url": "https://x/VG_100K/5.jpg", "coco_id": 9},
            {"image_id": 6, "url": "https://x/VG_100K/6.jpg", "coco_id": None},
        ]
        (genome_dir / "image_data.json").write_text(json.dumps(listed))
        summary = sample_exemplars(self.options(files, [image], visual_genome_dir=genome_dir))
        drawn = {each["file_name"] for each in files.drawn()[0]}
        expected = {"train2017/000000000010.jpg", "VG_100K/6.jpg", "train/n00000001/n00000001_5.JPEG"}
        assert drawn == expected
        assert summary.drops[0].reason == "its image is in the excluded file"
        assert summary.drops[0].count == 2

    def test_one_name_in_two_folders_excludes_both(self, files: Files) -> None:
        images = [{"id": n, "file_name": f"{folder}/000000000009.jpg"} for n, folder in enumerate(("a", "b"))]
        sample_exemplars(self.options(files, images))
        assert "train2017/000000000009.jpg" not in {each["file_name"] for each in files.drawn()[0]}

    def test_without_visual_genomes_list_it_says_what_it_cannot_see(self, files: Files) -> None:
        image = {"id": 9, "file_name": "000000000009.jpg"}
        summary = sample_exemplars(self.options(files, [image]))
        assert len(files.drawn()[0]) == 4
        assert any("--visual-genome-dir" in note for note in summary.notes)

    def test_where_nothing_is_left_the_excluded_file_is_named(self, files: Files) -> None:
        path = files.folder / "val.json"
        path.write_text(json.dumps({"images": [{"id": 9, "file_name": "000000000009.jpg"}]}))
        with pytest.raises(NothingDoneError, match=r"from the images of .*val\.json do not count"):
            sample_exemplars(files.options({"a.n.01": [self.EXEMPLARS[0]]}, exclude=path))

    def test_an_empty_file_is_an_error(self, files: Files) -> None:
        with pytest.raises(AnnotationFileError, match="excludes nothing"):
            sample_exemplars(self.options(files, []))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ('{"a.n.01": [{"dataset": "lvis"', "is not an exemplar dictionary"),
        ("[[1, 2]]", "is not an exemplar dictionary"),
        ('{"a.n.01": 7}', 'class "a.n.01" is not a list of records'),
        ('{"a.n.01": [7]}', 'class "a.n.01", exemplar 0'),
        ('{"a.n.01": [{"dataset": "lvis", "file_name": "x.jpg"}]}', "an LVIS record without bbox"),
        ('{"a.n.01": [{"dataset": "visual_genome", "file_name": "x.jpg", "w": 3}]}', "without x, y, w and h"),
        ('{"a.n.01": [{"dataset": "oid", "file_name": "x.jpg"}]}', "dataset is 'oid'"),
        ('{"a.n.01": [{"dataset": "imagenet21k", "file_name": "../../x"}]}', "not a path inside"),
        ('{"a.n.01": [{"dataset": "imagenet21k", "file_name": "/etc/x"}]}', "not a path inside"),
        ('{"a.n.01": [{"dataset": "lvis", "file_name": "x.jpg", "bbox": [1, 2, "3", 4]}]}', "exemplar 0: .*bbox"),
        ('{"z.n.01": []}', "none of the 1 synsets"),
    ],
)
def test_a_malformed_dictionary_is_named(files: Files, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as raised:
        sample_exemplars(files.options(text, k=1))
    assert "dict.json" in raised.value.message
    assert not files.output.exists()


def test_a_missing_dictionary_says_how_to_make_it(files: Files) -> None:
    options = files.options({"a.n.01": []})
    options.exemplars.unlink()
    with pytest.raises(MissingInputError) as raised:
        sample_exemplars(options)
    assert "exemplars collate" in raised.value.hint


@pytest.mark.parametrize("change", [{"k": 0}, {"seed": -1}])
def test_bad_numbers(files: Files, change: dict[str, int]) -> None:
    with pytest.raises(InputError):
        sample_exemplars(files.options({"a.n.01": [lvis(1)]}, **change))


def test_an_existing_output_is_refused(files: Files) -> None:
    options = files.options({"a.n.01": [lvis(1)]}, k=1)
    sample_exemplars(options)
    with pytest.raises(OutputExistsError):
        sample_exemplars(options)

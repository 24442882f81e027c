"""Classes without counterpart or synset, ids that stand in lists, frequencies written into a file, empty results."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovforge.annotations import add_frequencies, base_classes, category_info, merge_coco, remove_rare
from ovforge.errors import AnnotationFileError, InputError, NothingDoneError
from ovforge.options import layout
from ovforge.options.annotations import (
    AddFrequenciesOptions,
    BaseClassesOptions,
    CategoryInfoOptions,
    IdMode,
    MergeCocoOptions,
    RemoveRareOptions,
)
from ovforge.records.reporting import StepSummary


def lvis(**image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "coco_url": "http://x/train2017/000000000394.jpg", **image}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}],
        "categories": [
            {"id": 1, "name": "dog", "synset": "dog.n.01", "frequency": "f"},
            {"id": 2, "name": "my_widget", "frequency": "f"},
            {"id": 3, "name": "gadget", "synset": None, "frequency": "f"},
            {"id": 4, "name": "thing", "synset": "", "frequency": "f"},
        ],
    }


def coco(*classes: str, name: str = "000000000394.jpg") -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": name}],
        "categories": [{"id": 50 + number, "name": one} for number, one in enumerate(classes)],
        "annotations": [
            {"id": 3 + number, "image_id": 7, "category_id": 50 + number, "bbox": [20, 20, 30, 40]}
            for number in range(len(classes))
        ],
    }


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def merged(folder: Path, ours: Any, theirs: Any) -> tuple[Any, StepSummary]:
    paths = written(folder / "lvis.json", ours), written(folder / "coco.json", theirs)
    summary = merge_coco(MergeCocoOptions(*paths, folder / "out.json", overwrite=True))
    return json.loads((folder / "out.json").read_bytes()), summary


class TestMergeCoco:
    @pytest.mark.parametrize("name", ["forklift", "", "my_widget", "gadget", "Dog"])
    def test_a_class_without_counterpart_matches_no_class_without_synset(self, tmp_path: Path, name: str) -> None:
        out, summary = merged(tmp_path, lvis(), coco(name, "dog"))
        assert [(one["category_id"], one["bbox"]) for one in out["annotations"]] == [
            (1, [0, 0, 9, 9]),
            (1, [20, 20, 30, 40]),
        ]
        skipped = {drop.kind: drop.examples for drop in summary.drops}
        assert skipped["COCO class"] == (name,)
        assert skipped["COCO annotation"] == ("3",)

    @pytest.mark.parametrize(
        "name",
        [
            "train2017/000000000394.jpg",
            "COCO_train2014_000000000394.jpg",
            "data\\train2017\\000000000394.jpg",
            "C:\\data\\COCO_val2014_000000000394.jpg",
        ],
    )
    def test_names_with_folders_and_of_other_years_are_the_image(self, tmp_path: Path, name: str) -> None:
        assert len(merged(tmp_path, lvis(), coco("dog", name=name))[0]["annotations"]) == 2

    def test_own_names_count_as_a_whole(self, tmp_path: Path) -> None:
        ours = lvis(coco_url=None, file_name="a/long_name_of_an_image_1.jpg")
        theirs = coco("dog", name="b/long_name_of_an_image_1.jpg")
        assert len(merged(tmp_path, ours, theirs)[0]["annotations"]) == 2
        with pytest.raises(InputError, match="none of its 1 images is in"):
            merged(tmp_path, ours, coco("dog", name="another_name_of_an_image_1.jpg"))

    @pytest.mark.parametrize("section", ["videos", "tracks"])
    def test_a_video_data_set_is_refused(self, tmp_path: Path, section: str) -> None:
        with pytest.raises(AnnotationFileError, match=f'has "{section}"'):
            merged(tmp_path, lvis(), coco("dog") | {section: [{"id": 1}]})

    def test_a_missing_box_is_the_mask_s(self, tmp_path: Path) -> None:
        theirs = coco("dog")
        theirs["annotations"][0] |= {"bbox": None, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
        _, summary = merged(tmp_path, lvis(), theirs)
        assert summary.counts["COCO annotations added"] == 0  # it is LVIS's own object

    @pytest.mark.parametrize("place", layout.TRACKING_COCO_TRAIN_PLACES, ids=str)
    def test_coco_s_file_is_found_in_both_places(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for path, content in ((layout.TRACKING_LVIS_TRAIN, lvis()), (place, coco("dog"))):
            path.parent.mkdir(parents=True, exist_ok=True)
            written(path, content)
        assert merge_coco(MergeCocoOptions()).counts["COCO annotations added"] == 1


class TestBaseClasses:
    def content(self) -> dict[str, Any]:
        lists = {name: [9, 3, 5] for name in ("neg_category_ids", "not_exhaustive_category_ids", "pos_category_ids")}
        return {
            "images": [{"id": 1, **lists, "nested": {"pos_category_ids": [9]}}, {"id": 2, "neg_category_ids": None}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 9, "attributes": {"category_id": 9}},
                            {"id": 2, "image_id": 1, "category_id": 5, "pos_category_ids": [5, 9]}],
            "categories": [{"id": 3, "name": "r", "frequency": "r"}, {"id": 5, "name": "c", "frequency": "c"},
                           {"id": 9, "name": "f", "frequency": "f"}],
            "videos": [{"id": 4, "neg_category_ids": [3, 9], "name": "v"}, {"id": 5}],
            "tracks": [{"id": 1, "category_id": 9, "video_id": 4}, {"id": 2, "category_id": 3, "video_id": 4}],
        }  # fmt: skip

    def based(self, folder: Path, content: Any, mode: IdMode) -> Any:
        base_classes(BaseClassesOptions(written(folder / "a.json", content), folder / "b.json", mode=mode))
        return json.loads((folder / "b.json").read_bytes())

    def test_every_list_follows_the_new_ids(self, tmp_path: Path) -> None:
        content = self.content()
        out = self.based(tmp_path, content, IdMode.COMPACT)
        assert [one["id"] for one in out["categories"]] == [1, 2]
        new = {name: [2, 1] for name in ("neg_category_ids", "not_exhaustive_category_ids", "pos_category_ids")}
        assert out["images"] == [content["images"][0] | new, content["images"][1]]
        assert out["annotations"] == [
            content["annotations"][0] | {"category_id": 2},
            content["annotations"][1] | {"category_id": 1, "pos_category_ids": [1, 2]},
        ]
        assert out["videos"] == [content["videos"][0] | {"neg_category_ids": [2]}, content["videos"][1]]
        assert out["tracks"] == [{"id": 1, "category_id": 2, "video_id": 4}]

    def test_kept_ids_lose_the_other_classes_everywhere(self, tmp_path: Path) -> None:
        out = self.based(tmp_path, self.content(), IdMode.KEEP_IDS)
        assert out["images"][0]["pos_category_ids"] == [9, 5]
        assert out["videos"][0]["neg_category_ids"] == [9]
        assert [one["id"] for one in out["tracks"]] == [1]

    def test_a_track_of_an_unknown_class_is_refused(self, tmp_path: Path) -> None:
        content = self.content()
        content["tracks"][0]["category_id"] = 77
        with pytest.raises(AnnotationFileError, match=r'"tracks" .* category_id 77, which is not in "categories"'):
            self.based(tmp_path, content, IdMode.COMPACT)
        assert not (tmp_path / "b.json").exists()


class TestFrequencies:
    def content(self) -> dict[str, Any]:
        return {
            "info": {"by": "hand"},
            "images": [{"id": number, "pos_category_ids": [1]} for number in range(1, 13)],
            "annotations": [{"id": number, "image_id": number, "category_id": 1} for number in range(1, 13)]
            + [{"id": 20, "image_id": 1, "category_id": 1}, {"id": 21, "image_id": 1, "category_id": 2}],
            "categories": [
                {"id": 1, "name": "dog", "frequency": None, "image_count": "many", "nested": {"frequency": "x"}},
                {"id": 2, "frequency": 7},
                {"id": 3, "name": 5},
            ],
        }

    def test_they_are_written_into_a_copy_of_the_file(self, tmp_path: Path) -> None:
        content = self.content()
        del content["categories"][1]["frequency"]
        path = written(tmp_path / "a.json", content)
        with pytest.raises(AnnotationFileError, match=r"category number 1 .* has no frequency") as caught:
            remove_rare(RemoveRareOptions(path))
        assert f"`ovforge lvis add-frequencies --ann {path}`" in caught.value.hint
        summary = add_frequencies(AddFrequenciesOptions(path))
        out = json.loads((tmp_path / "a_freq.json").read_bytes())
        assert {key: out[key] for key in ("info", "images", "annotations")} == {
            key: content[key] for key in ("info", "images", "annotations")
        }
        counts = [(one["frequency"], one["image_count"], one["instance_count"]) for one in out["categories"]]
        assert counts == [("c", 12, 13), ("r", 1, 1), ("r", 0, 0)]
        assert out["categories"][0]["nested"] == {"frequency": "x"}
        assert summary.counts["changes of frequency"] == 3
        assert remove_rare(RemoveRareOptions(tmp_path / "a_freq.json")).counts["annotations out"] == 13

    def test_they_are_those_of_category_info(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", self.content())
        for bypass in (False, True):
            add_frequencies(AddFrequenciesOptions(path, bypass=bypass, r_thresh=2, c_thresh=12, overwrite=True))
            category_info(
                CategoryInfoOptions(path, add_freq=True, bypass=bypass, r_thresh=2, c_thresh=12, overwrite=True)
            )
            written_into = json.loads((tmp_path / "a_freq.json").read_bytes())["categories"]
            assert written_into == json.loads((tmp_path / "a_cat_info.json").read_bytes())
            assert written_into[0]["frequency"] == "f"


NOTHING: dict[str, tuple[Callable[[Any], object], str]] = {
    "no annotations": (lambda data: data.update(annotations=[]), "no annotation"),
    "no classes": (lambda data: data.update(annotations=[], categories=[]), "there is no"),
    "all rare": (lambda data: [one.update(frequency="r") for one in data["categories"]], "there is no"),
}
STEPS: dict[str, Callable[[Path, Path], object]] = {
    "remove-rare": lambda path, out: remove_rare(RemoveRareOptions(path, out)),
    "base-classes": lambda path, out: base_classes(BaseClassesOptions(path, out)),
    "category-info": lambda path, out: category_info(CategoryInfoOptions(path, out)),
    "add-frequencies": lambda path, out: add_frequencies(AddFrequenciesOptions(path, out)),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nothing", NOTHING)
def test_a_step_does_not_end_with_nothing(tmp_path: Path, step: str, nothing: str) -> None:
    change, told = NOTHING[nothing]
    content = copy.deepcopy(lvis())
    change(content)
    path = written(tmp_path / "a.json", content)
    if nothing == "all rare" and step in ("category-info", "add-frequencies"):
        STEPS[step](path, tmp_path / "out.json")  # classes are only counted
        return
    with pytest.raises(NothingDoneError, match=told) as caught:
        STEPS[step](path, tmp_path / "out.json")
    assert caught.value.exit_code == 2
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]

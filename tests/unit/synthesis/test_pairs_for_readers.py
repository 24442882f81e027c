"""The annotation file of pairs, by what its readers do with it."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ovforge.errors import InputError, OutputExistsError
from ovforge.options.tracks import AnnotateOptions, CategoryList, PairObjects, Reader
from ovforge.records.reporting import StepSummary
from ovforge.synthesis.tracks import annotate_pairs
from ovforge.taxonomy import lvis_classes

Content = dict[str, Any]


def annotate(folder: Path, out: Path, name: str = "mini", **options: Any) -> tuple[Content, StepSummary]:
    summary = annotate_pairs(AnnotateOptions(name, folder, out=out, **options))
    return json.loads(out.read_bytes()), summary


@pytest.fixture(scope="module")
def file(mini_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pairs annotate mini` writes by default; read only."""
    out = tmp_path_factory.mktemp("annotated") / "mini.json"
    annotate(mini_pairs, out)
    return out


@pytest.fixture(scope="module")
def content(file: Path) -> Content:
    return json.loads(file.read_bytes())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def source(mini_pairs: Path) -> Content:
    """The annotation file that the pairs were made from."""
    return json.loads((mini_pairs / "annotations.json").read_bytes())  # type: ignore[no-any-return]


def test_all_images_have_the_same_keys_and_names_of_their_own(content: Content) -> None:
    """mmdet's loaders for videos turn the frames' dictionaries into a dictionary of lists; others key by file name."""
    assert len({tuple(image) for image in content["images"]}) == 1
    frames = defaultdict(list)
    for image in content["images"]:
        frames[image["video_id"]].append(image)
    for video in frames.values():
        lists: dict[str, list[Any]] = defaultdict(list)
        for image in video:
            for key, value in image.items():
                lists[key].append(value)
        assert {len(values) for values in lists.values()} == {2}
        assert lists["frame_id"] == lists["frame_index"] == [0, 1]
        assert lists["motion"][0] == {"kind": "none"}
        assert lists["motion"][1]["kind"] in ("affine", "perspective")
        assert lists["file_name"][1].startswith(lists["file_name"][0].removesuffix(".jpg"))
        # Readers of LVIS take the name from the address.
        assert [url.rpartition("/")[2] for url in lists["coco_url"]] == lists["file_name"]
    names = [image["file_name"] for image in content["images"]]
    assert len(set(names)) == len(names)


def test_what_tao_asks_for_is_there_and_holds(content: Content, source: Content) -> None:
    assert list(content) == ["info", "licenses", "videos", "images", "tracks", "annotations", "categories"]
    images = {image["id"]: image for image in content["images"]}
    videos = {video["id"]: video for video in content["videos"]}
    tracks = {track["id"]: track for track in content["tracks"]}
    classes = {category["id"] for category in content["categories"]}
    names = [video["name"] for video in videos.values()]
    assert len(set(names)) == len(names) == len(videos) == len(images) // 2
    assert len(content["tracks"]) == len(tracks)
    assert 0 not in tracks and 0 not in videos and 0 not in images  # pycocotools' matching takes 0 for none
    of_image = {image["coco_url"].rpartition("/")[2]: image for image in source["images"]}
    for image in images.values():
        video = videos[image["video_id"]]
        for name in ("neg_category_ids", "not_exhaustive_category_ids"):
            assert video[name] == image[name]
        if image["frame_id"] == 0:
            assert video["name"] == image["file_name"].removesuffix(".jpg")
            assert image["neg_category_ids"] == of_image[image["file_name"]]["neg_category_ids"]
    assert len({annotation["id"] for annotation in content["annotations"]}) == len(content["annotations"])
    frames = defaultdict(list)
    for annotation in content["annotations"]:
        track = tracks[annotation["track_id"]]
        assert track["category_id"] == annotation["category_id"]
        assert track["video_id"] == annotation["video_id"] == images[annotation["image_id"]]["video_id"]
        assert annotation["category_id"] in classes
        assert annotation["instance_id"] == annotation["track_id"]
        assert "image_name" not in annotation
        frames[annotation["track_id"], annotation["iscrowd"]].append(images[annotation["image_id"]]["frame_id"])
    objects = {track: seen for (track, is_region), seen in frames.items() if not is_region}
    regions = {track: seen for (track, is_region), seen in frames.items() if is_region}
    assert set(map(tuple, objects.values())) == {(0, 1)}  # in both, and in the order of the frames
    assert set(map(tuple, regions.values())) <= {(0,), (0, 1)}  # seen in the image, and perhaps in the second view
    assert not objects.keys() & regions.keys()
    assert objects.keys() | regions.keys() == tracks.keys()
    assert {tracks[track]["video_id"] for track in objects} == videos.keys()  # no empty pair


def test_what_is_seen_and_not_followed_is_an_ignore_region(mini_pairs: Path, content: Content, source: Content) -> None:
    """All annotated objects of an image of a pair stand in its record: followed, or to be ignored."""
    of_image = {image["id"]: image["file_name"] for image in content["images"]}
    noted = {name: set[int]() for name in of_image.values()}
    for annotation in content["annotations"]:
        name = of_image[annotation["image_id"]]
        assert annotation["ori_ann_id"] not in noted[name]
        noted[name].add(annotation["ori_ann_id"])
    names = {image["id"]: image["coco_url"].rpartition("/")[2] for image in source["images"]}
    annotated = defaultdict(set)
    for annotation in source["annotations"]:
        annotated[names[annotation["image_id"]]].add(annotation["id"])
    pairs = json.loads((mini_pairs / "mini.pairs.json").read_bytes())["pairs"]
    visible = {
        view["file_name"]: {entry["id"] for entry in view["annotations"] if entry["area"]}
        for pair in pairs
        for view in pair["variants"]
    }
    for name, found in noted.items():
        assert found == (visible[name] if name in visible else annotated[name])


def test_both_views_have_masks_of_one_encoding(file: Path, content: Content, source: Content) -> None:
    polygons = {annotation["id"]: annotation for annotation in source["annotations"]}
    by_original = defaultdict(list)
    for annotation in content["annotations"]:
        by_original[annotation["ori_ann_id"]].append(annotation)
    coco = COCO(file)
    images = {image["id"]: image for image in content["images"]}
    both = {original: found for original, found in by_original.items() if len(found) == 2}
    assert len(both) > 80
    for original, (first, second) in both.items():
        for annotation in (first, second):
            assert set(annotation["segmentation"]) == {"size", "counts"}
            assert isinstance(annotation["segmentation"]["counts"], str)
        image = images[first["image_id"]]
        assert first["segmentation"]["size"] == [image["height"], image["width"]]
        parts = coco_mask.frPyObjects(polygons[original]["segmentation"], image["height"], image["width"])
        assert np.array_equal(coco_mask.decode(coco_mask.merge(parts)), coco.annToMask(first))
        moved = coco.annToMask(second)
        assert second["area"] == moved.sum()
        assert second["bbox"] == list(map(int, coco_mask.toBbox(second["segmentation"])))


def wrong_matches(content: Content) -> tuple[int, int]:
    """What OVTrack's mosaic makes of the pairs: (right, wrong) matches.

    Its dataset reads the objects of a frame in their order and skips some; the mosaic puts four images together and
    numbers the objects of each frame by position; equal numbers are then taken for one object.
    """
    images: dict[int, dict[int, Content]] = defaultdict(dict)
    for image in content["images"]:
        images[image["video_id"]][image["frame_id"]] = image
    of_image = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)

    def read(image: Content) -> list[int]:
        found = []
        for annotation in of_image[image["id"]]:
            x, y, width, height = annotation["bbox"]
            shown = min(x + width, image["width"]) - max(x, 0), min(y + height, image["height"]) - max(y, 0)
            if annotation.get("ignore") or min(shown) <= 0 or annotation["area"] <= 0 or min(width, height) < 1:
                continue
            if not annotation.get("iscrowd"):
                found.append(annotation["instance_id"])
        return found

    pairs = []
    for frames in images.values():
        pairs += [(read(frames[key]), read(frames[other])) for key, other in combinations(sorted(frames), 2)]
    right = wrong = 0
    for start in range(0, len(pairs), 4):
        key = [track for first, _ in pairs[start : start + 4] for track in first]
        other = [track for _, second in pairs[start : start + 4] for track in second]
        for number in range(min(len(key), len(other))):
            right += key[number] == other[number]
            wrong += key[number] != other[number]
        wrong += abs(len(key) - len(other))  # a number that nothing has in the other frame
    return right, wrong


@pytest.mark.parametrize("name", ["mini", "mini2"])
@pytest.mark.parametrize("reader", [None, Reader.OVTRACK])
def test_the_numbering_of_ovtracks_mosaic_matches_no_two_objects(
    mini_pairs: Path, tmp_path: Path, name: str, reader: Reader | None
) -> None:
    content, summary = annotate(mini_pairs, tmp_path / "both.json", name, reader=reader)
    right, wrong = wrong_matches(content)
    assert wrong == 0
    assert right > 80
    content, _ = annotate(mini_pairs, tmp_path / "all.json", name, reader=reader, objects=PairObjects.ALL)
    assert wrong_matches(content)[1] > 0  # what the rule is for
    assert any("not in every frame" in drop.reason for drop in summary.drops)


def test_stills_stand_in_a_file_of_their_own_and_for_ovtrack_in_the_same(
    mini_pairs: Path, file: Path, content: Content, source: Content, tmp_path: Path
) -> None:
    stills = json.loads(file.with_suffix(".stills.json").read_bytes())
    assert [image["id"] for image in stills["images"]] == [image["id"] for image in source["images"]]
    assert {annotation["id"] for annotation in stills["annotations"]} == {a["id"] for a in source["annotations"]}
    assert len({image["file_name"] for image in stills["images"]}) == len(stills["images"]) == len(stills["videos"])
    # The ids of the two files go on, so both can be read together.
    for section in ("videos", "images", "tracks", "annotations"):
        assert max(one["id"] for one in stills[section]) < min(one["id"] for one in content[section])
    together, _ = annotate(mini_pairs, tmp_path / "one.json", reader=Reader.OVTRACK)
    assert not (tmp_path / "one.stills.json").exists()
    for section in ("videos", "images", "tracks", "annotations"):
        assert [one["id"] for one in together[section]] == [
            one["id"] for one in [*stills[section], *content[section]]
        ], section
    assert together["annotations"][-len(content["annotations"]) :] == content["annotations"]
    assert len({tuple(image) for image in together["images"]}) == 1
    assert len({video["name"] for video in together["videos"]}) == len(together["videos"])
    assert {type(annotation["segmentation"]) for annotation in together["annotations"]} == {dict}
    without, _ = annotate(mini_pairs, tmp_path / "pairs.json", stills=False)
    assert not (tmp_path / "pairs.stills.json").exists()
    assert without == content


def test_all_classes_under_lvis_ids_whatever_the_file_has(mini_pairs: Path, content: Content, tmp_path: Path) -> None:
    everything, _ = annotate(mini_pairs, tmp_path / "all.json", categories=CategoryList.ALL)
    assert [c["id"] for c in everything["categories"]] == list(range(1, 1204))
    assert everything["annotations"] == content["annotations"]


def test_only_the_base_classes(mini_pairs: Path, source: Content, tmp_path: Path) -> None:
    base, _ = annotate(mini_pairs, tmp_path / "base.json", categories=CategoryList.BASE)
    frequencies = {category["frequency"] for category in base["categories"]}
    assert frequencies == {"c", "f"}
    kept = {category["id"] for category in base["categories"]}
    assert len(kept) == 866
    stills = json.loads((tmp_path / "base.stills.json").read_bytes())
    expected = {a["id"] for a in source["annotations"] if a["category_id"] in kept}
    assert {a["id"] for a in stills["annotations"]} == expected
    assert {a["ori_ann_id"] for a in base["annotations"]} <= expected
    for image in [*base["images"], *stills["images"]]:
        assert kept.issuperset(image["neg_category_ids"] + image["not_exhaustive_category_ids"])


def test_renumbered_classes_get_lvis_ids_back(mini: Path, tmp_path: Path) -> None:
    """A base file in compact numbering, and a file that is not LVIS's, through one small run each."""
    data = json.loads((mini / "lvis/lvis_v1_train.json").read_bytes())
    data["images"] = data["images"][:12]
    ids = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in ids]
    data["categories"] = [c for c in data["categories"] if c["frequency"] != "r"]
    new = {category["id"]: n for n, category in enumerate(data["categories"], 1)}
    data["annotations"] = [
        a | {"category_id": new[a["category_id"]]} for a in data["annotations"] if a["category_id"] in new
    ]
    data["categories"] = [c | {"id": new[c["id"]]} for c in data["categories"]]
    for image in data["images"]:
        for name in ("neg_category_ids", "not_exhaustive_category_ids"):
            image[name] = [new[one] for one in image[name] if one in new]
    folder = made_run(tmp_path, data, mini / "coco/train2017")
    content, _ = annotate(folder, tmp_path / "all.json", "run", reader=Reader.OVTR)
    by_id = {c.id: c.name for c in lvis_classes()}
    assert {c["id"]: c["name"] for c in content["categories"]} == by_id
    old_name = {c["id"]: c["name"] for c in data["categories"]}
    originals = {a["id"]: a for a in data["annotations"]}
    assert len(content["annotations"]) > 20
    for annotation in content["annotations"]:
        original = originals[annotation["ori_ann_id"]]
        assert by_id[annotation["category_id"]] == old_name[original["category_id"]]
    for track in content["tracks"]:
        assert track["category_id"] in by_id
    before = {image["coco_url"].rpartition("/")[2]: image for image in data["images"]}
    for image in content["images"]:
        if image["frame_id"] == 0:
            names = [old_name[one] for one in before[image["file_name"]]["neg_category_ids"]]
            assert [by_id[one] for one in image["neg_category_ids"]] == names


def test_all_classes_of_another_data_set_are_refused(mini: Path, tmp_path: Path) -> None:
    data = json.loads((mini / "lvis/lvis_v1_train.json").read_bytes())
    data["images"] = data["images"][:3]
    ids = {image["id"] for image in data["images"]}
    data["annotations"] = [a | {"category_id": 1} for a in data["annotations"] if a["image_id"] in ids]
    data["categories"] = [{"id": 1, "name": "my own thing"}]
    for image in data["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    folder = made_run(tmp_path, data, mini / "coco/train2017")
    with pytest.raises(InputError, match="is 'my own thing', no class of LVIS v1") as error:
        annotate(folder, tmp_path / "all.json", "run", categories=CategoryList.ALL)
    assert "--categories as-given" in error.value.hint
    assert not list(tmp_path.glob("all*.json"))
    content, _ = annotate(folder, tmp_path / "own.json", "run")
    assert {tuple(image["neg_category_ids"]) for image in content["images"]} == {()}  # every reader's key is there
    assert content["categories"] == data["categories"]


def made_run(tmp_path: Path, data: Content, images: Path, **options: Any) -> Path:
    from ovforge.options.pairs import GenerateOptions
    from ovforge.options.tracks import MergeOptions
    from ovforge.runs.executors.in_process import InProcessExecutor
    from ovforge.synthesis.generate import generate_pairs
    from ovforge.synthesis.merge import merge_pairs
    from ovforge.synthesis.warp import WarpEngine

    folder = tmp_path / "pairs"
    path = tmp_path / "given.json"
    path.write_text(json.dumps(data))
    generate = GenerateOptions("run", out=folder, images=images, annotations=path, **options)
    generate_pairs(generate, WarpEngine(), InProcessExecutor())
    merge_pairs(MergeOptions("run", folder))
    return folder


def test_a_run_without_masks_has_none_in_either_view_and_says_so(mini: Path, mini_pairs: Path, tmp_path: Path) -> None:
    data = json.loads((mini_pairs / "annotations.json").read_bytes())
    data["images"] = data["images"][:6]
    ids = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in ids]
    folder = made_run(tmp_path, data, mini / "coco/train2017", masks=False)
    content, summary = annotate(folder, tmp_path / "out.json", "run")
    assert content["annotations"]
    assert not any("segmentation" in a or "mask" in a for a in content["annotations"])
    assert any("did not keep the masks" in note for note in summary.notes)
    plain, summary = annotate(mini_pairs, tmp_path / "plain.json", masks=False)
    assert not any("segmentation" in a or "mask" in a for a in plain["annotations"])
    assert not summary.notes


def test_clear_is_what_ovtrs_notebook_says(file: Path, content: Content) -> None:
    """There: not clear if the box covers 30 % or more of another one, unless the two are equal."""

    def is_clear(box: list[float], others: list[list[float]]) -> bool:
        for other in others:
            if other == box:
                continue
            width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
            height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
            shared = max(width, 0) * max(height, 0)
            if shared > 0 and shared >= 0.3 * other[2] * other[3]:
                return False
        return True

    stills = json.loads(file.with_suffix(".stills.json").read_bytes())
    seen = set()
    for data in (content, stills):
        boxes = defaultdict(list)
        for annotation in data["annotations"]:
            if not annotation["iscrowd"]:
                boxes[annotation["image_id"]].append(annotation["bbox"])
        for annotation in data["annotations"]:
            if annotation["iscrowd"]:
                assert annotation["clear"] is False
                continue
            assert annotation["clear"] is is_clear(annotation["bbox"], boxes[annotation["image_id"]])
            seen.add(annotation["clear"])
    assert seen == {True, False}


def test_either_file_is_refused_where_it_is(mini_pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    annotate(mini_pairs, out)
    for path in (out, tmp_path / "x.stills.json"):
        kept = path.read_bytes()
        other = out if path != out else tmp_path / "x.stills.json"
        other.unlink()
        with pytest.raises(OutputExistsError, match=path.name):
            annotate(mini_pairs, out)
        assert path.read_bytes() == kept
        assert not other.exists()
        annotate(mini_pairs, out, overwrite=True)

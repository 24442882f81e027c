"""The exemplar dictionary and its coverage report."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovforge.errors import AnnotationFileError, InputError, MissingInputError, OutputExistsError, ShortageError
from ovforge.exemplars import collate_exemplars
from ovforge.options.exemplars import CollateOptions, Substitutes
from ovforge.taxonomy import substitute_synsets

from .conftest import BOB, CATEGORIES, DOG, SPINNER, STOP, STREET, World, box, jpeg, thing


def collated(world: World, **changes: Any) -> dict[str, list[dict[str, Any]]]:
    options = world.options(**{"overwrite": True, **changes})
    collate_exemplars(options)
    result: dict[str, list[dict[str, Any]]] = json.loads(options.output.read_text())
    return result


def coverage(world: World) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((world.root / "out" / "exemplars.coverage.json").read_text())
    return report


def names(records: list[dict[str, Any]]) -> list[str]:
    return [record["file_name"] for record in records]


class TestAgainstTheOriginal:
    """The dictionary of the small data set, which the original made with sorted listings."""

    @pytest.fixture
    def ours(self, mini: Path, tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
        output = tmp_path / "ours.json"
        collate_exemplars(
            CollateOptions(output, mini / "lvis", mini / "imagenet" / "imagenet21k_P", mini / "VisualGenome")
        )
        result: dict[str, list[dict[str, Any]]] = json.loads(output.read_text())
        return result

    @pytest.fixture
    def original(self, unpacked: Callable[[str], Path]) -> dict[str, list[dict[str, Any]]]:
        path = unpacked("collate_exemplar_dict/exemplar_dict.sorted.json.gz")
        result: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())
        return result

    def test_all_but_stop_sign_are_equal_with_their_key_order(self, ours: Any, original: Any) -> None:
        assert list(ours) == list(original)
        assert len(ours) == 1203
        different = [synset for synset in original if json.dumps(ours[synset]) != json.dumps(original[synset])]
        assert different == [STOP]

    def test_stop_sign_gets_its_own_objects_and_then_the_street_signs(self, ours: Any, original: Any) -> None:
        lvis = ours[STOP][: len(original[STOP])]
        assert lvis == original[STOP]
        rest = ours[STOP][len(lvis) :]
        own = [record for record in rest if record["synset"] == STOP]
        assert own == rest[: len(own)]
        assert len(own) == 5
        assert {record["dataset"] for record in own} == {"visual_genome"}
        stand_ins = [{**record, "category_id": 1019} for record in original[STREET]]
        assert rest[len(own) :] == stand_ins


def test_thresholds_lvis_strictly_above_and_visual_genome_from(world: World) -> None:
    world.write_genome([thing(1, DOG, 32, 32), thing(2, DOG, 33, 31), thing(3, DOG, 31, 33)])
    ours = collated(world)
    assert [record["id"] for record in ours[DOG] if record["dataset"] == "lvis"] == [1, 4]
    assert [record["object_id"] for record in ours[DOG] if record["dataset"] == "visual_genome"] == [1]


def test_records_keep_their_own_fields_and_gain_the_originals(world: World) -> None:
    record = collated(world)[DOG][0]
    assert list(record)[-3:] == ["dataset", "file_name", "synset"]
    assert record["segmentation"] == [[1, 2, 3, 4, 5, 6]]
    assert record["file_name"] == "train2017/000000000001.jpg"
    genome = next(record for record in collated(world)[DOG] if record["dataset"] == "visual_genome")
    assert list(genome)[:6] == ["image_id", "dataset", "file_name", "category_id", "synset", "synsets"]
    assert genome["file_name"] == "VG_100K_2/7.jpg"


def test_a_field_that_is_there_already_is_replaced_where_it_stands(world: World) -> None:
    world.write_lvis([box(1, 378, 5000.0, file_name="wrong.jpg", note='"synset"')])
    world.write_genome([thing(1, DOG, image_id=99)])
    lvis, genome = (next(r for r in collated(world)[DOG] if r["dataset"] == kind) for kind in ("lvis", "visual_genome"))
    assert list(lvis)[-4:] == ["file_name", "note", "dataset", "synset"]
    assert lvis["file_name"] == "train2017/000000000001.jpg"
    # The original lets the object's own fields overwrite what it put in front.
    assert genome["image_id"] == 99


def test_objects_with_several_synsets_or_none_are_not_used(world: World) -> None:
    world.write_genome([thing(1, [DOG, STOP]), thing(2, []), thing(3, DOG)])
    assert [r["object_id"] for r in collated(world)[DOG] if r["dataset"] == "visual_genome"] == [3]


def test_visual_genome_is_for_classes_under_forty(world: World) -> None:
    world.write_imagenet(DOG, 37)  # 2 from LVIS: 39
    assert any(record["dataset"] == "visual_genome" for record in collated(world)[DOG])
    world.write_imagenet(DOG, 38)
    assert not any(record["dataset"] == "visual_genome" for record in collated(world)[DOG])
    assert any(record["dataset"] == "visual_genome" for record in collated(world, visual_genome_under=41)[DOG])


def test_imagenet_val_and_other_files_are_not_used(world: World) -> None:
    world.write_imagenet(DOG, 2, part="val", first=50)
    (world.imagenet / "train" / "n02084071" / "README.txt").write_text("x")
    (world.imagenet / "train" / "README.txt").write_text("x")
    (world.imagenet / "train" / "n99999999").mkdir()
    options = world.options()
    summary = collate_exemplars(options)
    ours = json.loads(options.output.read_text())
    assert [r["file_name"][-6:] for r in ours[DOG] if r["dataset"] == "imagenet21k"] == ["0.JPEG", "1.JPEG", "2.JPEG"]
    assert [drop.examples for drop in summary.drops] == [("train/n02084071/README.txt",)]


def test_links_that_lead_nowhere_and_pipes_are_named_and_not_counted(world: World) -> None:
    folder = world.imagenet / "train" / "n02084071"
    (folder / "n02084071_7.JPEG").symlink_to("n02084071_7.JPEG")
    (folder / "n02084071_8.JPEG").symlink_to("nowhere.JPEG")
    (folder / "n02084071_9.JPEG").symlink_to("n02084071_0.JPEG")
    os.mkfifo(folder / "n02084071_6.JPEG")
    summary = collate_exemplars(world.options())
    found = json.loads(world.options().output.read_text())[DOG]
    assert [r["file_name"][-6:] for r in found if r["dataset"] == "imagenet21k"] == [
        "0.JPEG", "1.JPEG", "2.JPEG", "9.JPEG",
    ]  # fmt: skip
    assert {(drop.reason, drop.examples) for drop in summary.drops} == {
        ("is a link to itself", ("train/n02084071/n02084071_7.JPEG",)),
        ("is a link that leads nowhere", ("train/n02084071/n02084071_8.JPEG",)),
        ("is a pipe or device", ("train/n02084071/n02084071_6.JPEG",)),
    }


IMAGE = jpeg(8, 8)


def test_an_image_that_its_tar_has_twice_is_named(world: World) -> None:
    tars = world.root / "tars"
    tars.mkdir()
    with tarfile.open(tars / "n02084071.tar", "w") as tar:
        for name in ("a.JPEG", "b.JPEG", "a.JPEG"):
            info = tarfile.TarInfo(name)
            info.size = len(IMAGE)
            tar.addfile(info, io.BytesIO(IMAGE))
    summary = collate_exemplars(world.options(imagenet_dir=tars))
    assert [(drop.reason, drop.examples) for drop in summary.warnings] == [
        ("is in its tar more than once; the first counts", ("n02084071/a.JPEG",))
    ]


def test_a_class_in_both_parts_has_both_once(world: World) -> None:
    world.write_imagenet(DOG, 2, part="imagenet21k_small_classes", first=50)
    found = [r["file_name"] for r in collated(world)[DOG] if r["dataset"] == "imagenet21k"]
    assert len(found) == len(set(found)) == 5
    assert [name.split("/")[0] for name in found] == ["train"] * 3 + ["imagenet21k_small_classes"] * 2


def test_names_are_sorted_as_plain_strings(world: World) -> None:
    world.write_imagenet(DOG, 11)
    found = [r["file_name"].rpartition("_")[2] for r in collated(world)[DOG] if r["dataset"] == "imagenet21k"]
    assert found[:3] == ["0.JPEG", "1.JPEG", "10.JPEG"]


class TestSubstitutes:
    """Who gets the images of related synsets."""

    def test_a_lacking_class_gets_them_and_says_by_which_synset(self, world: World) -> None:
        found = collated(world)[BOB]
        assert names(found) == [f"train/n04278605/n04278605_{number}.JPEG" for number in range(2)]
        assert {record["synset"] for record in found} == {SPINNER}
        assert {record["category_id"] for record in found} == {119}

    def test_lacking_is_under_ten_of_its_own(self, world: World) -> None:
        bobs = [box(number, 119, 5000.0) for number in range(10)]
        world.write_lvis(bobs)
        assert len(collated(world)[BOB]) == 10
        world.write_lvis(bobs[:9])
        assert len(collated(world)[BOB]) == 9 + 2

    def test_always_adds_them_to_the_published_classes(self, world: World) -> None:
        stops = [box(100 + number, 1019, 5000.0) for number in range(10)]
        world.write_lvis([box(number, 119, 5000.0) for number in range(10)] + stops)
        always = collated(world, substitutes=Substitutes.ALWAYS)
        assert len(always[BOB]) == 12
        # stop_sign is not among the 43: it has ten LVIS boxes and one object of its own, and that is enough.
        assert STOP not in substitute_synsets()
        assert {record["synset"] for record in always[STOP]} == {STOP}

    def test_never(self, world: World) -> None:
        never = collated(world, substitutes=Substitutes.NEVER)
        assert never[BOB] == []
        assert {record["synset"] for record in never[STOP]} == {STOP}

    def test_stop_sign_gets_its_own_objects_and_street_signs_while_it_lacks(self, world: World) -> None:
        found = collated(world)[STOP]
        kinds = [(record["dataset"], record["synset"]) for record in found]
        assert kinds == [
            ("lvis", STOP),
            ("visual_genome", STOP),
            ("imagenet21k", STREET),
            ("imagenet21k", STREET),
            ("visual_genome", STREET),
        ]
        # Street signs themselves are untouched by that.
        assert {record["category_id"] for record in collated(world)[STREET]} == {1026}
        world.write_lvis([box(number, 1019, 5000.0) for number in range(9)])
        assert {record["synset"] for record in collated(world)[STOP]} == {STOP}


class TestMissingSources:
    """Any source may be missing: what can be done is done, and the cost is said."""

    def test_without_lvis_the_packaged_classes_count(self, world: World) -> None:
        shutil.rmtree(world.lvis)
        options = world.options()
        summary = collate_exemplars(options)
        ours = json.loads(options.output.read_text())
        assert len(ours) == 1203
        assert len(ours[DOG]) == 3 + 1
        assert any("LVIS train is not at" in note for note in summary.notes)

    def test_without_imagenet(self, world: World) -> None:
        options = world.options(imagenet_dir=world.root / "nothing")
        summary = collate_exemplars(options)
        assert len(json.loads(options.output.read_text())[DOG]) == 2 + 1
        note = next(note for note in summary.notes if "ImageNet-21K is not at" in note)
        assert "2 classes have images there, 2 of these now have fewer than 10" in note

    def test_without_visual_genome(self, world: World) -> None:
        (world.genome / "image_data.json").unlink()
        options = world.options()
        summary = collate_exemplars(options)
        assert len(json.loads(options.output.read_text())[DOG]) == 2 + 3
        note = next(note for note in summary.notes if "Visual Genome" in note)
        assert "4 classes have fewer than 40 exemplars" in note
        assert "unpacked" not in note
        (world.genome / "image_data.json.zip").touch()
        summary = collate_exemplars(world.options(overwrite=True))
        assert any("image_data.json.zip should be unpacked" in note for note in summary.notes)

    def test_none_given(self, world: World) -> None:
        options = world.options(lvis_dir=None, imagenet_dir=None)
        assert collate_exemplars(options).counts["from Visual Genome"] == 3

    def test_without_any_it_is_an_error(self, world: World) -> None:
        nowhere = world.root / "nothing"
        with pytest.raises(MissingInputError, match="any of LVIS, ImageNet-21K and Visual Genome"):
            collate_exemplars(world.options(lvis_dir=nowhere, imagenet_dir=nowhere, visual_genome_dir=None))


def test_documents_old_default_folder_is_understood(world: World) -> None:
    assert collated(world, imagenet_dir=world.imagenet.parent) == collated(world)


def test_class_tars_and_flat_copies_are_read_where_they_lie(world: World) -> None:
    flat, tars = world.root / "flat", world.root / "tars"
    shutil.copytree(world.imagenet / "train", flat)
    tars.mkdir()
    for folder in sorted(flat.iterdir()):
        with tarfile.open(tars / f"{folder.name}.tar", "w") as tar:
            for path in sorted(folder.iterdir(), reverse=True):
                info = tarfile.TarInfo(path.name)
                info.size = path.stat().st_size
                tar.addfile(info, io.BytesIO(path.read_bytes()))
    from_flat, from_tars = collated(world, imagenet_dir=flat), collated(world, imagenet_dir=tars)
    assert from_flat == from_tars
    found = [name for name in names(from_tars[DOG]) if name.endswith("JPEG")]
    assert found == [f"n02084071/n02084071_{number}.JPEG" for number in range(3)]


class TestCoverage:
    """The report beside the dictionary."""

    def test_counts_of_each_source_and_why_a_class_lacks(self, world: World) -> None:
        collated(world)
        report = coverage(world)
        dog, bob, stop, _ = report["classes"]
        sources = ("lvis", "imagenet21k", "visual_genome", "substitutes", "total")
        assert [dog[key] for key in sources] == [2, 3, 1, 0, 6]
        assert [bob[key] for key in sources] == [0, 0, 0, 2, 2]
        assert [stop[key] for key in sources] == [1, 0, 1, 3, 5]
        assert dog["why"] == ["1 LVIS box too small", "1 Visual Genome box too small", "no substitute known"]
        assert bob["why"] == ["no images of n02860063 in any ImageNet release"]
        assert bob["substitute_synsets"] == [SPINNER]
        assert stop["why"] == ["not in WordNet 3.0, so not in ImageNet"]
        assert report["lacking"] == [DOG, BOB, STOP, STREET]
        assert report["exemplars"] == 6 + 2 + 5 + 3

    def test_counts_are_those_of_the_dictionary(self, world: World) -> None:
        ours = collated(world)
        for each in coverage(world)["classes"]:
            assert each["total"] == len(ours[each["synset"]])

    def test_its_place_can_be_chosen(self, world: World) -> None:
        place = world.root / "elsewhere" / "report.json"
        collate_exemplars(world.options(coverage=place))
        assert json.loads(place.read_text())["enough"] == 10

    def test_require_makes_shortage_an_error_and_writes_the_report(self, world: World) -> None:
        options = world.options(require=6)
        with pytest.raises(ShortageError, match=r"3 of 4 classes have fewer than 6 exemplars: bob\.n\.05 \(2\)"):
            collate_exemplars(options)
        assert not options.output.exists()
        assert coverage(world)["classes"][1]["total"] == 2
        collate_exemplars(world.options(require=2))
        assert options.output.exists()


class TestBadInput:
    """What is wrong is named, with its place; nothing half is written."""

    def test_annotations_of_unknown_classes_and_images_are_refused(self, world: World) -> None:
        for wrong, problem in (
            (box(2, 99999, 5000.0), 'annotation number 2 .* category_id 99999, which is not in "categories"'),
            (box(3, 378, 5000.0, image=77), 'annotation number 2 .* image_id 77, which is not in "images"'),
            (box(1, 378, 5000.0), "annotation number 2 .* has the id 1 of annotation number 1"),
        ):
            world.write_lvis([box(1, 378, 5000.0), wrong])
            with pytest.raises(AnnotationFileError, match=problem):
                collate_exemplars(world.options())
            assert not world.options().output.exists()

    def test_objects_without_area_or_image_are_counted(self, world: World) -> None:
        world.write_genome([thing(1, DOG, 0, 2000), thing(2, DOG, -40, -40), thing(3, DOG)])
        drops = {drop.reason: drop.count for drop in collate_exemplars(world.options()).drops}
        assert drops == {"its box is empty": 2}
        world.write_genome([thing(3, DOG)], [{"image_id": 8, "url": "https://x/VG_100K_2/8.jpg"}])
        drops = {drop.reason: drop.count for drop in collate_exemplars(world.options(overwrite=True)).drops}
        assert drops == {"its image is not in image_data.json": 1}

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "is empty"),
            ('[{"image_id": 1, "objects": [', "is not Visual Genome's list of images"),
            ('{"images": []}', "is not Visual Genome's list of images"),
            ('[{"image_id": 1, "objects": []}, {"image_id": 2}]', "entry 1 .*objects"),
            ('[{"image_id": 1, "objects": [{"synsets": ["a.n.01"], "x": 1, "y": 1, "w": "9", "h": 1}]}]', "entry 0 "),
            ('[{"image_id": 1, "objects": [{"x": 1, "y": 1, "w": 9, "h": 1}]}]', "entry 0 .*synsets"),
        ],
    )
    def test_malformed_objects(self, world: World, text: str, problem: str) -> None:
        (world.genome / "objects.json").write_text(text)
        with pytest.raises(AnnotationFileError, match=problem) as raised:
            collate_exemplars(world.options())
        assert "objects.json" in raised.value.message
        assert not world.options().output.exists()

    def test_malformed_list_of_images(self, world: World) -> None:
        (world.genome / "image_data.json").write_text('[{"id": 1}]')
        with pytest.raises(AnnotationFileError, match=r"image_data\.json: entry 0 .*image_id"):
            collate_exemplars(world.options())

    @pytest.mark.parametrize("nothing", [{}, {"area": None}])
    def test_lvis_without_areas_has_those_of_the_masks(self, world: World, nothing: dict[str, None]) -> None:
        square = {"segmentation": [[0, 0, 40, 0, 40, 40, 0, 40]]}
        small = {"segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]]}
        no_mask = {"segmentation": [], "bbox": [0, 0, 100, 50]}
        annotations = [box(1, 378, 5.0) | square, box(2, 378, 5.0) | small, box(3, 378, 5.0) | no_mask]
        world.write_lvis([{**{key: one[key] for key in one if key != "area"}, **nothing} for one in annotations])
        collate_exemplars(world.options())
        records = [one for one in json.loads(world.options().output.read_text())[DOG] if one["dataset"] == "lvis"]
        # The third has no mask: its area is its box's, 100 x 50.
        assert [(one["id"], one["area"]) for one in records] == [(1, 1600.0), (3, 5000.0)]

    def test_a_box_that_is_text_is_named(self, world: World) -> None:
        world.write_lvis([box(1, 378, 5000.0) | {"area": "5000"}])
        with pytest.raises(AnnotationFileError, match=r'lvis_v1_train\.json: annotation number 1 .*"5000" as its area'):
            collate_exemplars(world.options())

    def test_a_folder_that_is_no_imagenet(self, world: World) -> None:
        (world.root / "images").mkdir()
        with pytest.raises(InputError, match="images: neither train"):
            collate_exemplars(world.options(imagenet_dir=world.root / "images"))

    def test_an_existing_output_is_refused_before_work(self, world: World) -> None:
        collated(world)
        (world.genome / "objects.json").write_text("broken")
        with pytest.raises(OutputExistsError):
            collate_exemplars(world.options())

    def test_two_categories_with_one_synset_share_a_list(self, world: World) -> None:
        boxes = [box(1, 2000, 5000.0), box(2, 378, 5000.0)]
        world.write_lvis(boxes, [*CATEGORIES, {"id": 2000, "name": "hound", "synset": DOG}])
        options = world.options()
        summary = collate_exemplars(options)
        assert any("belong to two categories" in note for note in summary.notes)
        records = json.loads(options.output.read_text())[DOG]
        assert [(record.get("id"), record["category_id"]) for record in records[:3]] == [
            (1, 2000),
            (2, 378),
            (None, 2000),
        ]

    def test_categories_without_synset(self, world: World) -> None:
        world.write_lvis([], [{"id": 18, "name": "dog", "supercategory": "animal"}])
        with pytest.raises(AnnotationFileError, match=r"category number 1 \(byte \d+\) \(dog\) has no synset"):
            collate_exemplars(world.options())


def test_the_same_input_gives_the_same_bytes(world: World) -> None:
    options = world.options(overwrite=True)
    collate_exemplars(options)
    before = options.output.read_bytes()
    (world.imagenet / "train" / "n02084071" / "n02084071_1.JPEG").write_bytes(jpeg(9, 9))
    collate_exemplars(options)
    assert options.output.read_bytes() == before

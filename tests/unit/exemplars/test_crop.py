"""Cutting exemplars out: boxes, pixels, folders, resuming."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from ovforge.errors import (
    AnnotationFileError,
    ImageError,
    InputError,
    MissingInputError,
    NothingDoneError,
    OutputExistsError,
    PlanMismatchError,
)
from ovforge.exemplars import crop_exemplars
from ovforge.exemplars.crop_plan import plan_crops
from ovforge.files.machine import machine_name
from ovforge.options.exemplars import CropForm, CropOptions
from ovforge.records.exemplar import Exemplar
from ovforge.records.reporting import StepSummary
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.run import ShardSelection
from ovforge.sources.crop_box import crop_rectangle
from ovforge.sources.crop_image import EmptyBoxError, cut_out, decode

from .conftest import BOB, DOG, SPINNER, World, jpeg

LVIS_BOX = Exemplar("lvis", "train2017/000000000001.jpg", bbox=(10.7, 8.2, 10.5, 5.9), id=1)
GENOME_BOX = Exemplar("visual_genome", "VG_100K_2/7.jpg", x=20, y=10, w=10, h=20, object_id=3)
WHOLE = Exemplar("imagenet21k", "train/n02084071/n02084071_0.JPEG")


def crop(options: CropOptions, **how: Any) -> StepSummary:
    """The step in this process: a worker process takes a second to start."""
    return crop_exemplars(options, InProcessExecutor(), **how)


def files_of(folder: Path) -> set[str]:
    splits = ("train", "val", "all")
    return {path.relative_to(folder).as_posix() for split in splits for path in (folder / split).glob("*/*")}


def record(exemplar: Exemplar, category_id: int, synset: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "dataset": exemplar.dataset,
        "file_name": exemplar.file_name,
        "category_id": category_id,
        "synset": synset,
    }
    if exemplar.dataset == "lvis":
        return {**fields, "id": exemplar.id, "bbox": exemplar.bbox}
    keys = ("x", "y", "w", "h", "object_id") if exemplar.dataset == "visual_genome" else ()
    return {**fields, **{key: getattr(exemplar, key) for key in keys}}


@pytest.fixture
def drawn(world: World) -> Path:
    """Two classes: dogs from all three data sets, and bobs by their substitute."""
    path = world.root / "drawn.json"
    dogs = [record(each, 378, DOG) for each in (LVIS_BOX, WHOLE, GENOME_BOX, LVIS_BOX)]
    spinner = Exemplar("imagenet21k", "train/n04278605/n04278605_1.JPEG")
    path.write_text(json.dumps([[record(spinner, 119, SPINNER)], dogs]))
    return path


class TestRectangle:
    """The arithmetic of the original."""

    def test_lvis_boxes_are_rounded_outwards_then_grown_and_squared(self) -> None:
        # 10, 8, 11, 6; centre 15.5, 11; 1.4 * 11 = 15.4 square: 7.8..23.2 and 3.3..18.7, cut to whole pixels.
        assert crop_rectangle(LVIS_BOX, 64, 48, context=0.4, square=True) == (7, 3, 23, 18)

    def test_visual_genome_boxes_are_taken_as_they_are(self) -> None:
        # Centre 25, 20; 1.4 * 20 = 28: 11..39 and 6..34.
        assert crop_rectangle(GENOME_BOX, 64, 48, context=0.4, square=True) == (11, 6, 39, 34)

    def test_clipped_at_the_image_it_is_not_square(self) -> None:
        assert crop_rectangle(GENOME_BOX, 30, 24, context=0.4, square=True) == (11, 6, 30, 24)

    def test_without_square_and_context(self) -> None:
        assert crop_rectangle(GENOME_BOX, 64, 48, context=0.0, square=False) == (20, 10, 30, 30)

    def test_an_imagenet_image_is_whole(self) -> None:
        assert crop_rectangle(WHOLE, 64, 48, context=0.4, square=True) is None

    @pytest.mark.parametrize("change", [{"w": 0}, {"h": 0}, {"w": -5}, {"x": 90}, {"y": -300}])
    def test_empty_and_outside(self, change: dict[str, int]) -> None:
        fields = {"x": 20, "y": 10, "w": 10, "h": 20, **change}
        rectangle = crop_rectangle(
            Exemplar("visual_genome", "a", **fields),
            64,
            48,
            context=0.4,
            square=True,  # type: ignore[arg-type]
        )
        assert rectangle is not None
        assert rectangle.is_empty


def cut(data: bytes, exemplar: Exemplar = GENOME_BOX, quality: int = 95) -> Any:
    return cut_out(data, exemplar, exemplar.file_name, context=0.4, square=True, quality=quality)


def with_orientation(data: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    payload = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]


class TestPixels:
    """What is in a crop."""

    def test_a_crop_holds_the_pixels_of_its_rectangle(self) -> None:
        data = jpeg(64, 48)
        crop = decode(cut(data).data, "crop").astype(int)
        assert crop.shape == (28, 28, 3)
        assert np.abs(crop - decode(data, "x")[6:34, 11:39]).mean() < 2

    def test_quality(self) -> None:
        data = jpeg(64, 48)
        assert len(cut(data, quality=95).data) > len(cut(data, quality=30).data)

    def test_imagenet_images_are_copied_whatever_they_are(self) -> None:
        png = cv2.imencode(".png", np.zeros((5, 6, 4), np.uint8))[1].tobytes()
        assert cut(png, WHOLE) == (png, True)

    def test_a_box_that_fills_the_image_is_copied(self) -> None:
        data = jpeg(12, 20)
        everything = Exemplar("visual_genome", "a.jpg", x=0, y=0, w=12, h=20)
        assert cut(data, everything) == (data, True)
        assert not cut(with_orientation(data, 3), everything).is_copy

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_crops_are_turned_upright_after_they_are_cut(self, orientation: int) -> None:
        upright = np.zeros((40, 60, 3), np.uint8)
        upright[:20, :30] = (0, 0, 255)  # red above left
        upright[20:, 30:] = (255, 0, 0)  # blue below right
        back = {
            1: lambda p: p,
            2: lambda p: p[:, ::-1],
            3: lambda p: p[::-1, ::-1],
            4: lambda p: p[::-1],
            5: lambda p: p.swapaxes(0, 1),
            6: lambda p: p[:, ::-1].swapaxes(0, 1),
            7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
            8: lambda p: p[::-1].swapaxes(0, 1),
        }
        stored = np.ascontiguousarray(back[orientation](upright))
        data = with_orientation(cv2.imencode(".jpg", stored)[1].tobytes(), orientation)
        high, wide = stored.shape[:2]
        # One pixel less than the image, so that it is not copied.
        exemplar = Exemplar("visual_genome", "a.jpg", x=0, y=0, w=wide - 1, h=high - 1)
        crop = decode(cut_out(data, exemplar, "a.jpg", context=0.0, square=False, quality=95).data, "crop")
        assert crop.shape[:2] == (39, 59)
        assert crop[4, 4].argmax() == 0
        assert crop[4, 4, 0] > 200
        assert crop[-4, -4].argmax() == 2
        assert crop[4, -4].max() < 60
        # cv2, which honours EXIF, sees the whole image the same way.
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape[:2] == (40, 60)
        assert shown[4, 4, 2] > 200

    def test_greyscale_stays_greyscale(self) -> None:
        grey = cv2.imencode(".jpg", np.full((48, 64), 90, np.uint8))[1].tobytes()
        assert decode(cut(grey).data, "crop").shape == (28, 28)

    def test_alpha_is_converted(self) -> None:
        pixels = np.full((48, 64, 4), 200, np.uint8)
        png = cv2.imencode(".png", pixels)[1].tobytes()
        assert decode(cut(png).data, "crop").shape == (28, 28, 3)

    def test_sixteen_bits_are_converted(self) -> None:
        png = cv2.imencode(".png", np.full((48, 64, 3), 40000, np.uint16))[1].tobytes()
        crop = decode(cut(png).data, "crop")
        assert crop.dtype == np.uint8
        assert abs(int(crop.mean()) - 156) < 3

    def test_a_png_stays_a_png_under_its_name(self) -> None:
        png = cv2.imencode(".png", np.full((48, 64, 3), 7, np.uint8))[1].tobytes()
        exemplar = Exemplar("visual_genome", "7.png", x=20, y=10, w=10, h=20)
        assert cut(png, exemplar).data.startswith(b"\x89PNG")

    def test_an_empty_box(self) -> None:
        with pytest.raises(EmptyBoxError):
            cut(jpeg(10, 10))

    @pytest.mark.parametrize("data", [b"", b"no image", jpeg(64, 48)[:400]])
    def test_broken_images(self, data: bytes) -> None:
        for exemplar in (GENOME_BOX, WHOLE):
            with pytest.raises(ImageError):
                cut(data, exemplar)


@pytest.mark.parametrize(
    ("expected", "form", "train"),
    [
        ("save_LVIS_exemplars", CropForm.SPLIT, None),
        ("save_LVIS_exemplars_ovmr", CropForm.LISTS, None),
        ("save_LVIS_exemplars_ovmr_train5", CropForm.LISTS, "K-005"),
    ],
)
def test_files_and_pixels_of_the_originals(
    mini: Path,
    mini_expected: Path,
    unpacked: Callable[[str], Path],
    *,
    expected: str,
    form: CropForm,
    train: str | None,
) -> None:
    name = "sample_exemplars/lvis_image_exemplar_dict_{}_ovmr_min1.json.gz"
    roots = {
        "lvis": mini / "coco",
        "imagenet21k": mini / "imagenet" / "imagenet21k_P",
        "visual_genome": mini / "VisualGenome",
    }
    options = CropOptions(
        unpacked(name.format("K-030")),
        unpacked(name.format("K-030")).parent / "crops",
        form,
        unpacked(name.format(train)) if train else None,
        lvis_images=roots["lvis"],
        imagenet_images=roots["imagenet21k"],
        visual_genome_images=roots["visual_genome"],
    )
    summary = crop_exemplars(options, LocalExecutor(2))
    rows = json.loads(gzip.decompress((mini_expected / expected / "files.json.gz").read_bytes()))
    assert files_of(options.output) == {row["file"] for row in rows}
    assert not summary.drops

    planned = {file: crop.exemplar for each in plan_crops(options) for crop in each.crops for file in crop.files}
    checked: dict[str, tuple[bytes, str]] = {}  # an exemplar that was drawn often is looked at closely once
    for row in rows:
        exemplar = planned[row["file"]]
        written = (options.output / row["file"]).read_bytes()
        if exemplar.identity in checked:
            assert (written, row["sha256_before_encoding"]) == checked[exemplar.identity]
            continue
        checked[exemplar.identity] = written, row["sha256_before_encoding"]
        source = (roots[exemplar.dataset] / exemplar.file_name).read_bytes()
        if exemplar.dataset == "imagenet21k":
            assert written == source
            if row["mode_before_encoding"] in ("RGB", "L"):  # OpenCV turns CMYK into RGB
                assert hashlib.sha256(decode(source, "x").tobytes()).hexdigest() == row["sha256_before_encoding"]
            continue
        stored, saved = decode(source, "x"), decode(written, "x")
        rectangle = crop_rectangle(exemplar, stored.shape[1], stored.shape[0], context=0.4, square=True)
        assert rectangle is not None
        left, top, right, bottom = rectangle
        pixels = np.ascontiguousarray(stored[top:bottom, left:right])
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == row["sha256_before_encoding"]
        assert saved.shape == pixels.shape
        assert (saved.shape[1], saved.shape[0]) == (row["width"], row["height"])
        assert {"RGB": 3, "L": 2}[row["mode"]] == saved.ndim
        assert np.abs(np.atleast_1d(saved.mean(axis=(0, 1))) - row["mean"]).max() < 1.5
    assert len(checked) > 300


class TestForms:
    """Folders and names."""

    def test_split(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn, train_shots=2))
        assert files_of(world.root / "crops") == {
            "all/119/0_imagenet21k_n04278605_1.JPEG",
            "train/119/0_imagenet21k_n04278605_1.JPEG",
            "all/378/0_lvis_000000000001.jpg",
            "all/378/1_imagenet21k_n02084071_0.JPEG",
            "all/378/2_visual_genome_7.jpg",
            "all/378/3_lvis_000000000001.jpg",
            "train/378/0_lvis_000000000001.jpg",
            "train/378/1_imagenet21k_n02084071_0.JPEG",
            "val/378/2_visual_genome_7.jpg",
        }

    def test_lists(self, world: World, drawn: Path) -> None:
        train = world.root / "train.json"
        train.write_text(json.dumps([[], [record(GENOME_BOX, 378, DOG)]]))
        summary = crop(world.crop_options(drawn, form=CropForm.LISTS, train_exemplars=train))
        assert files_of(world.root / "crops") == {
            "val/0/val_0_imagenet21k_n04278605_1.JPEG",
            "val/1/val_0_lvis_000000000001.jpg",
            "val/1/val_1_imagenet21k_n02084071_0.JPEG",
            "val/1/val_2_visual_genome_7.jpg",
            "val/1/val_3_lvis_000000000001.jpg",
            "train/1/train_0_visual_genome_7.jpg",
        }
        assert not summary.notes

    def test_lists_say_when_train_and_val_are_the_same(self, world: World, drawn: Path) -> None:
        shutil.copy(drawn, world.root / "copy.json")
        for number, train in enumerate((None, drawn, world.root / "copy.json")):
            options = world.crop_options(drawn, form=CropForm.LISTS, train_exemplars=train, overwrite=number > 0)
            assert any("the same images" in note for note in crop(options).notes)

    def test_classes_file_says_which_folder_is_which_class(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn, form=CropForm.LISTS))
        index = json.loads((world.root / "crops" / "classes.json").read_text())
        found = [(each["folder"], each["category_id"], each["synset"]) for each in index["classes"]]
        # All of bob's images came by a substitute; its own synset is told by its id.
        assert found == [("0", 119, BOB), ("1", 378, DOG)]
        for path, size in index["classes"][1]["files"].items():
            assert (world.root / "crops" / path).stat().st_size == size

    def test_a_dictionary_with_names_and_an_empty_class(self, world: World, drawn: Path) -> None:
        rows = json.loads(drawn.read_text())
        drawn.write_text(json.dumps({BOB: rows[0], "empty.n.01": [], DOG: rows[1]}))
        crop(world.crop_options(drawn, form=CropForm.LISTS))
        index = json.loads((world.root / "crops" / "classes.json").read_text())
        assert [each["synset"] for each in index["classes"]] == [BOB, "empty.n.01", DOG]
        assert (world.root / "crops" / "val" / "2").is_dir()

    def test_sheets(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn, sheet=True))
        sheet = decode((world.root / "crops" / "sheets" / "378.jpg").read_bytes(), "sheet")
        assert sheet.shape[1] > 4 * 160
        assert sheet.std() > 10


class TestSources:
    """Images are read where they lie."""

    def test_hdf5_class_tars_and_other_folders_give_the_same_crops(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn))
        expected = {name: (world.root / "crops" / name).read_bytes() for name in files_of(world.root / "crops")}
        packed = world.root / "train_imgs.hdf5"
        with h5py.File(packed, "w") as file:
            for path in sorted((world.coco / "train2017").iterdir()):
                file[path.name] = np.frombuffer(path.read_bytes(), np.uint8)
        tars = world.root / "tars"
        tars.mkdir()
        for folder in sorted((world.imagenet / "train").iterdir()):
            with tarfile.open(tars / f"{folder.name}.tar", "w") as tar:
                for path in sorted(folder.iterdir()):
                    info = tarfile.TarInfo(path.name)
                    info.size = path.stat().st_size
                    tar.addfile(info, io.BytesIO(path.read_bytes()))
        crop(
            world.crop_options(
                drawn,
                lvis_images=packed,
                imagenet_images=tars,
                visual_genome_images=world.genome / "VG_100K_2",
                overwrite=True,
            )
        )
        assert {name: (world.root / "crops" / name).read_bytes() for name in files_of(world.root / "crops")} == expected

    def test_missing_and_broken_images_are_named_and_skipped(self, world: World, drawn: Path) -> None:
        (world.genome / "VG_100K_2" / "7.jpg").write_bytes(jpeg(64, 48)[:300])
        rows = json.loads(drawn.read_text())
        rows[1].append({**record(LVIS_BOX, 378, DOG), "file_name": "train2017/000000000404.jpg"})
        rows[1].append({**record(GENOME_BOX, 378, DOG), "file_name": "VG_100K_2/7.jpg", "x": 500, "object_id": 8})
        rows[1].append({**record(LVIS_BOX, 378, DOG), "id": 5, "bbox": [5000, 5, 10, 10]})
        drawn.write_text(json.dumps(rows))
        summary = crop(world.crop_options(drawn))
        drops = {drop.reason: (drop.count, drop.examples) for drop in summary.drops}
        assert drops["its image is missing"] == (1, ("lvis:train2017/000000000404.jpg:1",))
        assert drops["its box is empty or outside its image"][0] == 1
        names = ("visual_genome:VG_100K_2/7.jpg:3", "visual_genome:VG_100K_2/7.jpg:8")
        assert drops["its image is cut short"] == (2, names)
        # The others keep the names that they would have had.
        assert "all/378/3_lvis_000000000001.jpg" in files_of(world.root / "crops")
        assert "all/378/2_visual_genome_7.jpg" not in files_of(world.root / "crops")

    def test_a_wrong_folder_is_an_error_not_thousands_of_drops(self, world: World, drawn: Path) -> None:
        (world.root / "empty").mkdir()
        with pytest.raises(MissingInputError) as raised:
            crop(world.crop_options(drawn, lvis_images=world.root / "empty"))
        assert "--lvis-img-dir" in raised.value.hint
        with pytest.raises(MissingInputError, match="nowhere"):
            crop(world.crop_options(drawn, visual_genome_images=world.root / "nowhere"))

    def test_a_data_set_that_is_not_drawn_from_need_not_be_there(self, world: World, drawn: Path) -> None:
        drawn.write_text(json.dumps([[record(WHOLE, 378, DOG)]]))
        options = world.crop_options(drawn, lvis_images=world.root / "no", visual_genome_images=world.root / "no")
        assert crop(options).counts["exemplars copied whole"] == 1


class TestRunningAgain:
    """Resuming, repeating, replacing."""

    def test_what_is_done_is_not_done_again(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn))
        before = {path: path.stat().st_mtime_ns for path in (world.root / "crops" / "all").glob("*/*")}
        summary = crop(world.crop_options(drawn))
        assert {path: path.stat().st_mtime_ns for path in (world.root / "crops" / "all").glob("*/*")} == before
        assert any("were done before" in note for note in summary.notes)
        assert summary.counts["images in all"] == 5

    @pytest.mark.parametrize("loss", ["crop", "half a crop", "receipt", "half a receipt"])
    def test_what_was_lost_is_made_again(self, world: World, drawn: Path, loss: str) -> None:
        options = world.crop_options(drawn)
        crop(options)
        made = next((options.output / "all" / "378").glob("2_*"))
        expected = made.read_bytes()
        receipt = next((options.output / "run" / "shards").glob("*.json"))
        if loss == "crop":
            made.unlink()
        elif loss == "half a crop":
            made.write_bytes(expected[:100])
        else:
            made.unlink()
            half = receipt.read_bytes()[:40]
            receipt.unlink()
            if loss == "half a receipt":
                receipt.write_bytes(half)
        crop(options)
        assert made.read_bytes() == expected

    def test_a_lost_sheet_is_drawn_again(self, world: World, drawn: Path) -> None:
        options = world.crop_options(drawn, sheet=True)
        crop(options)
        sheet = options.output / "sheets" / "378.jpg"
        expected = sheet.read_bytes()
        sheet.unlink()
        crop(options)
        assert sheet.read_bytes() == expected

    def test_other_options_are_refused_with_the_difference(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn))
        with pytest.raises(PlanMismatchError, match="quality: 95 in the run, 80 now"):
            crop(world.crop_options(drawn, quality=80))

    def test_overwrite_leaves_no_crop_of_the_earlier_run_and_nothing_else_is_touched(
        self, world: World, drawn: Path
    ) -> None:
        crop(world.crop_options(drawn))
        mine = world.root / "crops" / "all" / "378" / "notes.txt"
        mine.write_text("mine")
        rows = json.loads(drawn.read_text())
        drawn.write_text(json.dumps([rows[0], rows[1][:1]]))
        crop(world.crop_options(drawn, overwrite=True))
        assert files_of(world.root / "crops") == {
            "all/119/0_imagenet21k_n04278605_1.JPEG",
            "train/119/0_imagenet21k_n04278605_1.JPEG",
            "all/378/0_lvis_000000000001.jpg",
            "train/378/0_lvis_000000000001.jpg",
            "all/378/notes.txt",
        }

    def test_a_folder_with_other_images_is_refused(self, world: World, drawn: Path) -> None:
        folder = world.root / "crops" / "train" / "1"
        folder.mkdir(parents=True)
        with pytest.raises(OutputExistsError):
            crop(world.crop_options(drawn))

    def test_one_worker_and_three_give_the_same_bytes(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn))
        one = {name: (world.root / "crops" / name).read_bytes() for name in files_of(world.root / "crops")}
        crop_exemplars(world.crop_options(drawn, overwrite=True), LocalExecutor(3))
        assert {name: (world.root / "crops" / name).read_bytes() for name in files_of(world.root / "crops")} == one


class TestSharedOut:
    """Several processes that do parts of the same work."""

    def test_two_parts_equal_one_run(self, world: World, drawn: Path) -> None:
        rows = json.loads(drawn.read_text())
        drawn.write_text(json.dumps([*rows, *([record(WHOLE, number, DOG)] for number in range(1000, 1008))]))
        crop(world.crop_options(drawn))
        whole = {name: (world.root / "crops" / name).read_bytes() for name in files_of(world.root / "crops")}
        options = replace(world.crop_options(drawn), out=world.root / "parts")
        first = crop(options, shards=ShardSelection(1, 2))
        assert not (options.output / "classes.json").exists()
        assert "2 of 3 shards are done" in first.notes[-1]
        second = crop(options, shards=ShardSelection(2, 2))
        assert second.counts["classes"] == 10
        assert {name: (options.output / name).read_bytes() for name in files_of(options.output)} == whole
        assert (options.output / "classes.json").read_bytes() == (world.root / "crops" / "classes.json").read_bytes()
        # A part that is started again does nothing; a crop that is lost is made again by the part that it belongs to.
        lost = next((options.output / "all" / "1002").iterdir())  # in the second shard
        lost.unlink()
        crop(options, shards=ShardSelection(1, 2))
        assert not lost.exists()
        crop(options, shards=ShardSelection(2, 2))
        assert lost.exists()

    def test_parts_do_not_overwrite(self, world: World, drawn: Path) -> None:
        crop(world.crop_options(drawn))
        with pytest.raises(InputError, match="exclude each other"):
            crop(world.crop_options(drawn, overwrite=True), shards=ShardSelection(1, 2))
        assert files_of(world.root / "crops")

    def test_two_processes_at_once_through_the_command_line(self, world: World, drawn: Path) -> None:
        rows = json.loads(drawn.read_text())
        drawn.write_text(json.dumps([*rows, *([record(WHOLE, number, DOG)] for number in range(1000, 1008))]))
        crop(world.crop_options(drawn))
        line = ["-m", "ovforge.cli.main", "exemplars", "crop", "--exemplars", drawn, "--out", world.root / "parts"]
        line += ["--lvis-img-dir", world.coco, "--imagenet-img-dir", world.imagenet]
        line += ["--visual-genome-img-dir", world.genome, "--workers", "1"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
        parts = [
            subprocess.Popen([sys.executable, *line, "--shards", part], env=environment, stdout=subprocess.DEVNULL)
            for part in ("1/2", "2/2")
        ]
        assert [part.wait(timeout=120) for part in parts] == [0, 0]
        assert (world.root / "parts" / "classes.json").read_bytes() == (
            world.root / "crops" / "classes.json"
        ).read_bytes()
        assert files_of(world.root / "parts") == files_of(world.root / "crops")


class TestBadInput:
    """Options and lists that cannot be used."""

    @pytest.mark.parametrize(
        "change",
        [{"quality": 0}, {"quality": 101}, {"context": -1.0}, {"train_shots": -1}, {"train_exemplars": Path("x")}],
    )
    def test_options(self, world: World, drawn: Path, change: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            crop(world.crop_options(drawn, **change))

    @pytest.mark.parametrize("text", ["", "[[", "7", "[7]", '[[{"dataset": "lvis"}]]'])
    def test_lists(self, world: World, drawn: Path, text: str) -> None:
        drawn.write_text(text)
        with pytest.raises(AnnotationFileError, match=r"drawn\.json"):
            crop(world.crop_options(drawn))

    @pytest.mark.parametrize("text", ["[]", "[[], []]", "{}", '{"dog.n.01": []}'])
    @pytest.mark.parametrize("form", CropForm)
    def test_lists_without_an_exemplar(self, world: World, drawn: Path, text: str, form: CropForm) -> None:
        drawn.write_text(text)
        with pytest.raises(NothingDoneError, match=r"drawn\.json: there is no exemplar in any of its classes"):
            crop(world.crop_options(drawn, form=form))
        assert not (world.root / "crops").exists()

    def test_lists_of_different_classes(self, world: World, drawn: Path) -> None:
        other = world.root / "other.json"
        other.write_text("[[]]")
        with pytest.raises(InputError, match="2 classes"):
            crop(world.crop_options(drawn, form=CropForm.LISTS, train_exemplars=other))

    def test_two_classes_of_one_id_cannot_share_a_folder(self, world: World, drawn: Path) -> None:
        drawn.write_text(json.dumps([[record(WHOLE, 378, DOG)], [record(WHOLE, 378, DOG)]]))
        with pytest.raises(AnnotationFileError, match="category id 378"):
            crop(world.crop_options(drawn))


def test_half_written_files_of_killed_processes_are_removed(world: World, drawn: Path) -> None:
    crop(world.crop_options(drawn))
    folder = world.root / "crops" / "all" / "378"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (folder / f".9_lvis_x.jpg.part-{machine_name()}-{pid}-0" for pid in (ended.pid, os.getpid()))
    dead.touch()
    alive.touch()
    crop(world.crop_options(drawn))
    assert not dead.exists()
    assert alive.exists()

"""`doctor` and `prepare` on images as people have them: unfinished trees, official names, merged folders, other K."""

from __future__ import annotations

import dataclasses
import gzip
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.errors import MissingInputError
from ovforge.exemplars import crop, crop_exemplars, index_exemplars
from ovforge.imagenet import prepare as prepare_imagenet
from ovforge.options import layout
from ovforge.options.exemplars import CropOptions, ExemplarIndexOptions
from ovforge.options.imagenet import PrepareOptions
from ovforge.options.workflow import WorkflowOptions
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.taxonomy import class_by_wnid
from ovforge.workflow.doctor import DoctorReport, doctor
from ovforge.workflow.prepare import prepare
from ovforge.workflow.steps import StepStatus

WNIDS = sorted(class_by_wnid())[:5]
IMAGE = cv2.imencode(".jpg", np.full((20, 30, 3), 99, np.uint8))[1].tobytes()


@pytest.fixture
def root(sample_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_folder, tmp_path / "root", symlinks=True))


def standing(report: DoctorReport, name: str) -> StepStatus:
    return next(step.status for step in report.steps if step.name == name)


def found(report: DoctorReport, key: str) -> Any:
    return next(state for state in report.inputs if state.key == key)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def fall11() -> bytes:
    return tar({f"{wnid}.tar": tar({f"{wnid}_{i}.JPEG": IMAGE for i in range(3)}) for wnid in WNIDS})


def put_tree(folder: Path, *classes: str) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name.rpartition('/')[2]}_1.JPEG").write_bytes(IMAGE)


def interrupted(source: Path, out: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if len(list(out.glob("*/n*"))) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_imagenet(PrepareOptions(source=source, out=out), InProcessExecutor(), progress=stop)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_interrupted_prepare_is_unfinished_and_resumed(root: Path, compressed: bool) -> None:
    shutil.rmtree(root / layout.IMAGENET_DIR)
    archive = root / layout.IMAGENET_DIR / ("winter21_whole.tar.gz" if compressed else "fall11_whole.tar")
    archive.parent.mkdir()
    archive.write_bytes(gzip.compress(fall11()) if compressed else fall11())
    tree = root / layout.IMAGENET_21K
    interrupted(archive, tree)
    assert 0 < len(list(tree.glob("*/n*"))) < len(WNIDS)
    options = WorkflowOptions(root=root, workers=1)
    report = doctor(options)
    assert standing(report, "imagenet prepare") is StepStatus.UNFINISHED
    assert standing(report, "imagenet index") is StepStatus.BLOCKED
    assert "is unfinished" in found(report, "imagenet").problem
    assert report.next_command == f"ovforge prepare --root {root}"
    prepare(options)
    assert len(list(tree.glob("*/n*"))) == len(WNIDS)
    report = doctor(options)
    assert standing(report, "imagenet prepare") is StepStatus.DONE
    assert standing(report, "imagenet index") is StepStatus.DONE


@pytest.mark.parametrize(
    "place",
    ["imagenet21k_P", "imagenet22k", "imagenet21k_resized", "winter21_whole", "imagenet21k_P/imagenet21k_resized", "."],
)
@pytest.mark.parametrize(
    "classes",
    [
        (f"imagenet21k_train/{WNIDS[0]}", f"imagenet21k_val/{WNIDS[0]}"),
        (f"train/{WNIDS[0]}", f"imagenet21k_small_classes/{WNIDS[1]}"),
        (WNIDS[0], WNIDS[1]),
    ],
)
def test_trees_are_known_under_the_names_of_every_release(
    root: Path, tmp_path: Path, place: str, classes: tuple[str, ...]
) -> None:
    shutil.rmtree(root / layout.IMAGENET_DIR)
    put_tree(root / layout.IMAGENET_DIR / place, *classes)
    options = WorkflowOptions(root=root, workers=1)
    report = doctor(options)
    assert found(report, "imagenet").present, found(report, "imagenet")
    assert standing(report, "imagenet prepare") is StepStatus.DONE
    assert standing(report, "imagenet index") is StepStatus.READY
    prepare(options)
    assert standing(doctor(options), "imagenet index") is StepStatus.DONE


def test_a_link_to_a_flat_copy_is_known(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / layout.IMAGENET_DIR)
    put_tree(tmp_path / "copy", *WNIDS)
    (root / layout.IMAGENET_DIR).symlink_to(tmp_path / "copy")
    report = doctor(WorkflowOptions(root=root))
    assert found(report, "imagenet").looks_like == "a flat copy of 5 classes"
    assert found(report, "imagenet").place == str(layout.IMAGENET_DIR)


def test_a_folder_with_an_archive_only_is_no_tree(root: Path) -> None:
    shutil.rmtree(root / layout.IMAGENET_DIR)
    (root / layout.IMAGENET_DIR).mkdir()
    (root / layout.IMAGENET_DIR / "fall11_whole.tar").write_bytes(fall11())
    report = doctor(WorkflowOptions(root=root))
    assert not found(report, "imagenet").present
    assert found(report, "imagenet").problem == ""
    assert found(report, "imagenet").place == str(layout.IMAGENET_21K)
    assert "class tars" in found(report, "imagenet-archive").looks_like
    assert standing(report, "imagenet prepare") is StepStatus.READY


def test_an_archive_and_images_that_are_pages_are_told_by_their_content(root: Path) -> None:
    page = b"<!DOCTYPE html><html><title>404</title></html>"
    (root / layout.IMAGENET_DIR / "fall11_whole.tar").write_bytes(page)
    for path in (root / layout.COCO_DIR / "val2017").iterdir():
        path.write_bytes(page)
    report = doctor(WorkflowOptions(root=root))
    assert "is a web page" in found(report, "imagenet-archive").problem
    assert "its files are not images" in found(report, "coco-val-images").problem
    assert "web page" in found(report, "coco-val-images").problem


def test_visual_genome_in_one_folder_is_found(root: Path) -> None:
    genome = root / layout.VISUAL_GENOME_DIR
    options = WorkflowOptions(root=root, workers=1)
    prepare(options)
    apart = sorted((root / layout.EXEMPLAR_CROPS / "all").rglob("*.jpg"))
    for path in sorted((genome / "VG_100K_2").iterdir()):
        path.rename(genome / "VG_100K" / path.name)
    (genome / "VG_100K_2").rmdir()
    report = doctor(options)
    assert found(report, "visual-genome-images-2").present, found(report, "visual-genome-images-2")
    shutil.rmtree(root / layout.EXEMPLAR_CROPS)
    prepare(options)
    assert sorted((root / layout.EXEMPLAR_CROPS / "all").rglob("*.jpg")) == apart


def test_crops_of_another_k_are_kept_beside_each_other(root: Path) -> None:
    prepare(WorkflowOptions(root=root, k=5, workers=1))
    before = {path: path.read_bytes() for path in sorted((root / layout.EXEMPLAR_CROPS).rglob("*.jpg"))}
    prepare(WorkflowOptions(root=root, k=12, workers=1))
    assert before == {path: path.read_bytes() for path in sorted((root / layout.EXEMPLAR_CROPS).rglob("*.jpg"))}
    assert (root / layout.crops_of(12) / "classes.json").exists()
    assert standing(doctor(WorkflowOptions(root=root, k=5)), "exemplars crop") is StepStatus.DONE


def crop_options(root: Path, exemplars: Path, out: Path, **how: Any) -> CropOptions:
    return CropOptions(
        exemplars,
        out,
        lvis_images=root / layout.COCO_DIR,
        imagenet_images=root / layout.IMAGENET_21K,
        visual_genome_images=root / layout.VISUAL_GENOME_DIR,
        **how,
    )


def test_the_next_command_after_crops_of_few_exemplars_works(root: Path, tmp_path: Path) -> None:
    prepare(WorkflowOptions(root=root, workers=1))
    exemplars = root / layout.exemplars_of(5)
    summary = crop_exemplars(crop_options(root, exemplars, tmp_path / "crops"), InProcessExecutor())
    assert summary.next_command.endswith("--split train")
    listed = index_exemplars(
        ExemplarIndexOptions(tmp_path / "crops", root / layout.LVIS_TRAIN, tmp_path / "index.json", split="train")
    )
    assert listed.counts["images"] > 0


def test_a_list_that_is_not_there_names_those_that_are(root: Path, tmp_path: Path) -> None:
    prepare(WorkflowOptions(root=root, workers=1))
    with pytest.raises(MissingInputError) as caught:
        crop_exemplars(crop_options(root, root / layout.exemplars_of(30), tmp_path / "crops"), InProcessExecutor())
    assert f"--exemplars {root / layout.exemplars_of(5)}" in caught.value.hint


@pytest.mark.parametrize("first", [True, False])
def test_crops_made_anew_are_unfinished_until_they_are_done(
    root: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    options = WorkflowOptions(root=root, workers=1)
    prepare(options)
    before = {path: path.read_bytes() for path in sorted((root / layout.EXEMPLAR_CROPS).rglob("*_*.jpg"))}
    crops = crop_options(root, root / layout.exemplars_of(5), root / layout.EXEMPLAR_CROPS, overwrite=True, quality=50)
    real, made = crop.write_small_file, []

    def stop(path: Path, data: bytes) -> None:
        made.append(path)
        if len(made) > (3 if first else 60):
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(crop, "write_small_file", stop)
        with pytest.raises(KeyboardInterrupt):
            crop_exemplars(crops, InProcessExecutor())
    assert standing(doctor(options), "exemplars crop") is not StepStatus.DONE
    crop_exemplars(dataclasses.replace(crops, overwrite=False), InProcessExecutor())
    assert standing(doctor(options), "exemplars crop") is StepStatus.DONE
    after = {path: path.read_bytes() for path in sorted((root / layout.EXEMPLAR_CROPS).rglob("*_*.jpg"))}
    assert list(after) == list(before)
    assert after != before

"""ImageNet-21K trees: layouts, names, unrecognised entries, links."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ovforge.errors import ArchiveError, ImageError, InputError, MissingInputError
from ovforge.sources.imagenet21k import SMALL, TRAIN, ImageNet21k


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def tar_of(path: Path, *names: str) -> Path:
    folder = put(path.parent / f"{path.name}.folder", *names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(folder / name, name)
    return path


PARTS_TREE = (
    "train/n00000001/n00000001_10.JPEG",
    "train/n00000001/n00000001_9.JPEG",
    "val/n00000001/n00000001_1.JPEG",
    f"{SMALL}/n00000002/n00000002_5.JPEG",
)


def test_parts_in_order_and_names_as_plain_strings(tmp_path: Path) -> None:
    tree = ImageNet21k(put(tmp_path, *PARTS_TREE))
    assert tree.layout == "parts"
    assert tree.classes() == ["n00000001", "n00000002"]
    assert tree.images("n00000001") == list(PARTS_TREE[:3])
    assert tree.images("n00000001", parts=(TRAIN, SMALL)) == list(PARTS_TREE[:2])
    assert tree.images("n00000003") == []
    assert tree.names() == sorted(PARTS_TREE)
    assert tree.read(PARTS_TREE[0]) == PARTS_TREE[0].encode()


def test_flat_folders_and_class_tars_are_read_alike(tmp_path: Path) -> None:
    flat = put(tmp_path / "flat", "n00000001/b.JPEG", "n00000001/a.JPEG", "n00000002/c.JPEG")
    tars = tmp_path / "tars"
    tar_of(tars / "n00000001.tar", "b.JPEG", "a.JPEG")
    tar_of(tars / "n00000002.tar", "c.JPEG")
    with ImageNet21k(flat) as folders, ImageNet21k(tars) as archives:
        assert archives.layout == folders.layout == "flat"
        assert archives.names() == folders.names() == ["n00000001/a.JPEG", "n00000001/b.JPEG", "n00000002/c.JPEG"]
        assert archives.images("n00000001", parts=(TRAIN,)) == folders.images("n00000001")
        assert archives.read("n00000002/c.JPEG") == b"c.JPEG"
        assert "n00000002/c.JPEG" in archives
        assert "n00000002/d.JPEG" not in archives
        with pytest.raises(ImageError, match="is missing"):
            archives.read("n00000002/d.JPEG")


def test_tars_may_stand_in_parts_beside_folders(tmp_path: Path) -> None:
    put(tmp_path, "train/n00000001/x.JPEG", "val/n00000002/y.JPEG")
    tar_of(tmp_path / "train" / "n00000002.tar", "z.JPEG")
    tar_of(tmp_path / "train" / "n00000001.tar", "ignored.JPEG")
    with ImageNet21k(tmp_path) as tree:
        assert tree.names() == ["train/n00000001/x.JPEG", "train/n00000002/z.JPEG", "val/n00000002/y.JPEG"]
        assert tree.read("train/n00000002/z.JPEG") == b"z.JPEG"
        assert tree.read("val/n00000002/y.JPEG") == b"val/n00000002/y.JPEG"
        assert "train/n00000001.tar" in tree.unrecognised


def test_official_names_of_the_parts(tmp_path: Path) -> None:
    put(tmp_path, "imagenet21k_train/n00000001/a.JPEG", "imagenet21k_val/n00000001/b.JPEG")
    tree = ImageNet21k(tmp_path)
    assert tree.images("n00000001") == ["imagenet21k_train/n00000001/a.JPEG", "imagenet21k_val/n00000001/b.JPEG"]
    assert tree.images("n00000001", parts=(TRAIN,)) == ["imagenet21k_train/n00000001/a.JPEG"]


def test_unrecognised_entries_are_named_and_harmless(tmp_path: Path) -> None:
    put(tmp_path, *PARTS_TREE, "train/README.txt", "train/.DS_Store", "train/dogs/x.JPEG", f"{SMALL}/n00000002/.hidden")
    (tmp_path / "train" / "n00000001" / "folder").mkdir()
    tree = ImageNet21k(tmp_path)
    assert tree.names() == sorted(PARTS_TREE)
    assert tree.unrecognised == ["train/.DS_Store", "train/README.txt", "train/dogs"]


def test_links_to_an_existing_copy_work(tmp_path: Path) -> None:
    copy = put(tmp_path / "elsewhere", *PARTS_TREE)
    (tmp_path / "linked").symlink_to(copy)
    parts = tmp_path / "parts"
    parts.mkdir()
    for part in ("train", "val", SMALL):
        (parts / part).symlink_to(copy / part)
    classes = tmp_path / "classes" / "n00000001"
    classes.parent.mkdir()
    classes.symlink_to(copy / "train" / "n00000001")
    assert ImageNet21k(tmp_path / "linked").names() == sorted(PARTS_TREE)
    assert ImageNet21k(parts).names() == sorted(PARTS_TREE)
    assert ImageNet21k(tmp_path / "classes").names() == ["n00000001/n00000001_10.JPEG", "n00000001/n00000001_9.JPEG"]


def test_names_never_lead_out_of_the_tree(tmp_path: Path) -> None:
    put(tmp_path, "secret", "tree/train/n00000001/a.JPEG")
    tree = ImageNet21k(tmp_path / "tree")
    for name in ("../secret", "train/../../secret", str(tmp_path / "secret"), ""):
        assert name not in tree
        with pytest.raises(ImageError):
            tree.read(name)


def test_what_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        ImageNet21k(tmp_path / "none")
    with pytest.raises(InputError, match="neither train, val"):
        ImageNet21k(put(tmp_path, "images/a.JPEG"))
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MissingInputError):
        ImageNet21k(tmp_path / "dead")


def test_a_broken_class_tar_is_named(tmp_path: Path) -> None:
    put(tmp_path, "n00000001.tar")
    with pytest.raises(ArchiveError, match=r"n00000001\.tar"):
        ImageNet21k(tmp_path).images("n00000001")

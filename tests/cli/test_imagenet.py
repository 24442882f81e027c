"""`ovforge imagenet` as a user meets it: exit codes, what is printed where, help."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.imagenet import app

GIF = (  # 5x4 pixels
    b"GIF89a\x05\x00\x04\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x05\x00\x04\x00\x00"
    b"\x02\x04\x84\x8f\xa9Y\x00;"
)


def archive(path: Path) -> Path:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as class_tar:
        for i in range(4):
            info = tarfile.TarInfo(f"n02084071_{i}.JPEG")
            info.size = len(GIF)
            class_tar.addfile(info, io.BytesIO(GIF))
    with tarfile.open(path, "w") as outer:
        info = tarfile.TarInfo("n02084071.tar")
        info.size = len(inner.getvalue())
        outer.addfile(info, io.BytesIO(inner.getvalue()))
    return path


def categories(path: Path) -> Path:
    category = {"id": 1, "name": "dog", "synset": "dog.n.01", "frequency": "f"}
    path.write_text(json.dumps({"categories": [category], "images": [], "annotations": []}))
    return path


def test_prepare_then_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, tree, out = archive(tmp_path / "fall11_whole.tar"), tmp_path / "tree", tmp_path / "index.json"
    assert run_app(app, ["prepare", str(source), "--out", str(tree), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "imagenet21k_small_classes" in printed
    assert f"next: ovforge imagenet index --imagenet-path {tree}" in printed

    lvis = categories(tmp_path / "lvis.json")
    arguments = ["index", "--imagenet-path", str(tree), "--lvis-meta-path", str(lvis), "--out-path", str(out)]
    assert run_app(app, [*arguments, "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["images"] == 4
    images = json.loads(out.read_bytes())["images"]
    assert images[0] == {
        "id": 1,
        "file_name": "imagenet21k_small_classes/n02084071/n02084071_0.JPEG",
        "pos_category_ids": [1],
        "width": 5,
        "height": 4,
    }
    assert run_app(app, arguments) == 2
    assert "already exists" in capsys.readouterr().err
    assert run_app(app, [*arguments, "--overwrite", "--workers", "1"]) == 0


def test_a_compressed_archive_cannot_be_shared_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "winter21_whole.tar.gz"
    source.write_bytes(gzip.compress(archive(tmp_path / "plain.tar").read_bytes()))
    for option in (["--shards", "1/2"], ["--executor", "ray"]):
        assert run_app(app, ["prepare", str(source), "--out", str(tmp_path / "tree"), *option]) == 2
        error = capsys.readouterr().err
        assert " ".join(option) in error
        assert "uncompress it" in error


def test_errors_name_the_path_and_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "winter21_whole.tar.gz"
    assert run_app(app, ["prepare", str(missing), "--out", str(tmp_path / "tree")]) == 2
    error = capsys.readouterr().err
    assert str(missing) in error
    assert "image-net.org" in error
    assert "Traceback" not in error
    lvis = categories(tmp_path / "lvis.json")
    assert run_app(app, ["index", "--imagenet-path", str(tmp_path / "none"), "--lvis-meta-path", str(lvis)]) == 2
    assert "ImageNet-21K folder not found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["prepare"], ["prepare", "x.tar", "--resize", "100"], ["prepare", "x.tar", "--workers", "-1"], ["index", "extra"]],
)
def test_bad_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys; from ovforge.cli.common import run_app; from ovforge.cli.imagenet import app\n"
        "run_app(app, ['prepare', '--help']); print(sorted({'numpy', 'cv2', 'h5py', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("[]")
    assert "winter21_whole.tar.gz" in result.stdout

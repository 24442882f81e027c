"""`lvis pack-images`: bytes unchanged, names filled in, holes named, nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer

from ovforge.cli.common import run_app
from ovforge.cli.lvis_pack import register
from ovforge.image_io.hdf5 import ImageReader

app = typer.Typer()
register(app)
app.callback()(lambda: None)

FOLDER = Path("data/lvis/train2017")
OUT = Path("data/lvis/train_imgs.hdf5")
BASE = Path("data/lvis/annotations/lvis_v1_train+coco_mask_v1_base.json")
NAMED = BASE.with_name("lvis_v1_train+coco_mask_v1_base_named.json")


@pytest.fixture
def root(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mini / "coco/train2017", FOLDER)
    BASE.parent.mkdir()
    return tmp_path


def pack(*options: str, code: int = 0) -> None:
    assert run_app(app, ["pack-images", *options]) == code


def test_packs_a_folder_byte_for_byte(root: Path, mini: Path) -> None:
    pack()
    with ImageReader(OUT) as reader:
        assert reader.names() == sorted(p.name for p in (mini / "coco/train2017").iterdir())
        for name in reader.names():
            assert reader.read(name) == (mini / "coco/train2017" / name).read_bytes()
    first = OUT.read_bytes()
    pack("--overwrite")
    assert OUT.read_bytes() == first


def test_fills_in_file_names_and_leaves_everything_else(root: Path, mini: Path) -> None:
    shutil.copy(mini / "lvis/lvis_v1_train.json", BASE)
    (FOLDER / "not_in_lvis.jpg").write_bytes(b"x")
    pack()
    before, after = json.loads(BASE.read_bytes()), json.loads(NAMED.read_bytes())
    assert list(after) == list(before)
    for old, new in zip(before["images"], after["images"], strict=True):
        assert list(new) == [*old, "file_name"]
        assert new == {**old, "file_name": old["coco_url"].rsplit("/")[-1]}
    assert {key: after[key] for key in after if key != "images"} == {
        key: before[key] for key in before if key != "images"
    }
    with ImageReader(OUT) as reader:
        assert reader.names() == sorted(image["file_name"] for image in after["images"])


def test_equals_the_named_file_of_the_data_set(root: Path, mini: Path) -> None:
    # The data set's file was made with the names as the last field; take them away, and they come back.
    source = json.loads((mini / "ovtrack/lvis_v1_train+coco_mask_v1_base_named.json").read_bytes())
    without = {**source, "images": [{k: v for k, v in i.items() if k != "file_name"} for i in source["images"]]}
    BASE.write_text(json.dumps(without))
    pack()
    assert json.dumps(json.loads(NAMED.read_bytes())) == json.dumps(source)


def test_a_file_with_names_needs_no_copy(root: Path, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(mini / "ovtrack/lvis_v1_train+coco_mask_v1_base_named.json", BASE)
    pack()
    assert "no copy is needed" in capsys.readouterr().out
    assert not NAMED.exists()


def test_names_what_is_missing_or_damaged(root: Path, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(mini / "lvis/lvis_v1_train.json", BASE)
    (FOLDER / "000000000009.jpg").unlink()
    (FOLDER / "000000000025.jpg").write_bytes((FOLDER / "000000000025.jpg").read_bytes()[:5000])
    (FOLDER / "000000000030.jpg").write_bytes(b"")
    pack("--json")
    summary = json.loads(capsys.readouterr().out)
    assert summary["counts"]["images"] == 37
    assert {drop["reason"]: drop["examples"] for drop in summary["drops"]} == {
        "is missing": ["000000000009.jpg"],
        "is cut short": ["000000000025.jpg"],
        "is empty": ["000000000030.jpg"],
    }


def test_an_output_that_is_there_is_refused_before_any_work(
    root: Path, mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    OUT.write_bytes(b"weeks of work")
    pack(code=2)
    assert f"{OUT}: already exists" in capsys.readouterr().err
    assert OUT.read_bytes() == b"weeks of work"
    OUT.unlink()
    shutil.copy(mini / "lvis/lvis_v1_train.json", BASE)
    NAMED.write_text("theirs")
    pack(code=2)
    assert f"{NAMED}: already exists" in capsys.readouterr().err
    assert not OUT.exists()


def test_no_image_at_all_leaves_nothing_behind(root: Path, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(mini / "lvis/lvis_v1_val.json", BASE)  # other images
    pack(code=2)
    assert "holds none of the 50 images" in capsys.readouterr().err
    assert sorted(p.name for p in OUT.parent.iterdir()) == ["annotations", "train2017"]
    pack("--images", "nowhere", code=2)
    assert "nowhere" in capsys.readouterr().err


def test_the_list_of_what_was_skipped(root: Path, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(mini / "lvis/lvis_v1_train.json", BASE)
    (FOLDER / "000000000009.jpg").unlink()
    (FOLDER / "000000000025.jpg").write_bytes((FOLDER / "000000000025.jpg").read_bytes()[:5000])
    pack("--skipped", "skipped.csv")
    assert "skipped: 1 image is missing (000000000009.jpg)\n" in capsys.readouterr().out
    assert sorted(Path("skipped.csv").read_text().splitlines()[1:]) == [
        'skipped,image,is cut short,000000000025.jpg,"a JPEG of 5,000 bytes without an end marker"',
        "skipped,image,is missing,000000000009.jpg,not in data/lvis/train2017",
    ]

"""A file of other bytes than JSON's gets the same clear error from every command that reads it, and no output."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.options import layout

WHOLE = {
    "info": {"by": "x"},
    "images": [{"id": 1, "width": 9, "height": 9, "coco_url": "http://x/train2017/a.jpg", "neg_category_ids": []}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "caption": "a dog"}],
    "categories": [{"id": 1, "name": "dog", "synset": "dog.n.01", "frequency": "f"}],
}
TEXT = json.dumps(WHOLE)
FILES: dict[str, tuple[bytes, str]] = {
    "latin-1": (TEXT.replace("dog.n", "d\u00e9g.n").encode("latin-1"), "is not UTF-8: byte"),
    "latin-1 in info": (TEXT.replace('"x"', '"\u00e9"').encode("latin-1"), "is not UTF-8: byte 17 is 0xe9"),
    "NaN": (TEXT.replace("81", "NaN").encode(), "NaN at byte"),
    "byte order mark": (TEXT.encode("utf-8-sig"), "byte order mark (byte 0)"),
    "UTF-16": (TEXT.encode("utf-16"), "is UTF-16, not UTF-8"),
    "gzip": (gzip.compress(TEXT.encode()), "is compressed (gzip)"),
    "web page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "is a web page (HTML)"),
    "list": (json.dumps([WHOLE]).encode(), "list"),
    "cut": (TEXT.encode()[:-30], "cut short"),
    "empty": (b"", "is empty"),
    "a null record": (TEXT.replace('[{"id": 1', '[null, {"id": 1').encode(), "is null"),
}

ANN = "in.json"
COMMANDS = {
    "remove-rare": "lvis remove-rare --ann in.json --out out.json",
    "category-info": "lvis category-info --ann in.json --out out.json",
    "add-frequencies": "lvis add-frequencies --ann in.json --out out.json",
    "merge-coco": "lvis merge-coco --lvis in.json --coco good.json --out out.json",
    "merge-coco --coco": "lvis merge-coco --lvis good.json --coco in.json --out out.json",
    "base-classes": "lvis base-classes --ann in.json --out out.json",
    "pack-images": "lvis pack-images --ann in.json --images images --out out.json",
    "pairs generate": "pairs generate p --engine warp --ann in.json --images images --folder out.json --workers 1",
    "captions": "pairs generate p --engine warp --ann good.json --images images --captions in.json --folder out.json "
    "--workers 1",
    "collate": "exemplars collate --lvis-dir in.json --imagenet-dir none --visual-genome-dir none --out out.json",
    "index": "exemplars index --crops crops --categories in.json --out out.json --split all",
    "imagenet index": "imagenet index --imagenet-path imagenet --lvis-meta-path in.json --out out.json",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "crops/all/0", "imagenet/train/n02084071"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "images/a.jpg").write_bytes(b"x")
    (tmp_path / "good.json").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("data", "told"), FILES.values(), ids=FILES)
def test_every_command_names_file_and_problem(
    root: Path, capsys: pytest.CaptureFixture[str], command: str, data: bytes, told: str
) -> None:
    Path(ANN).write_bytes(data)
    before = sorted(root.rglob("*"))
    assert run_app(app, [*command.split(), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {ANN}: ")
    assert told in error
    assert sorted(root.rglob("*")) == before


PLACES = (
    layout.LVIS_TRAIN,
    layout.LVIS_VAL,
    layout.TRACKING_COCO_TRAIN,
    layout.TRACKING_CAPTIONS,
    layout.VISUAL_GENOME_DIR / "objects.json",
    layout.VISUAL_GENOME_DIR / "image_data.json",
)


@pytest.mark.parametrize("data", [data for data, _ in FILES.values()], ids=FILES)
def test_doctor_and_prepare_say_what_it_is(root: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    for place in PLACES:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    assert run_app(app, ["doctor", "--json"]) == 0
    states = {one["place"]: one for one in json.loads(capsys.readouterr().out)["inputs"]}
    for place in PLACES:
        assert states[str(place)]["problem"]
        assert not states[str(place)]["present"]
    assert run_app(app, ["prepare", "--quiet", "--workers", "1"]) == 0
    assert "steps run" in capsys.readouterr().out

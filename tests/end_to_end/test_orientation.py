"""One rule of orientation: every reader shows an image the way up that its annotations are drawn."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.image_io.codec import decode_rgb
from ovforge.image_io.hdf5 import ImageReader
from ovforge.synthesis.contact_sheet import CAPTION, CELL, GAP, HEADER

WIDTH, HEIGHT = 160, 120
BOX = [20, 24, 90, 60]
"""x, y, width, height of a red rectangle on grey, in the image as its annotations are drawn."""
ORIENTATIONS = {1: None, 3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE, 8: cv2.ROTATE_90_CLOCKWISE}
"""How the stored pixels are turned against the upright image."""


def drawn() -> np.ndarray[Any, Any]:
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    x, y, width, height = BOX
    image[y : y + height, x : x + width] = (30, 30, 230)  # BGR
    return image


def jpeg(pixels: np.ndarray[Any, Any], orientation: int) -> bytes:
    data: bytes = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    block = b"Exif\0\0II*\0" + struct.pack("<LHHHLHHL", 8, 1, 274, 3, 1, orientation, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def is_red_in_its_box(rgb: np.ndarray[Any, Any], scale: float = 1.0) -> bool:
    x, y, width, height = (side * scale for side in BOX)
    inside = rgb[round(y + 4) : round(y + height - 4), round(x + 4) : round(x + width - 4)].astype(int)
    outside = rgb[round(y + height + 8) :, round(x + width + 8) :].astype(int)
    return bool((inside[..., 0] > 180).all() and (inside[..., 2] < 90).all() and np.abs(outside - 90).max() < 40)


@pytest.fixture(params=[("upright", 6), ("upright", 8), ("as stored", 3), ("as stored", 6), ("as stored", 1)])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A merged and annotated run of one image, whose annotations are drawn on it upright or as it is stored."""
    how, orientation = request.param
    pixels = drawn()
    turn = ORIENTATIONS[orientation] if how == "upright" else None
    stored = pixels if turn is None else cv2.rotate(pixels, turn)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg(stored, orientation))
    x, y, width, height = BOX
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    content = {
        "images": [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "sign", "frequency": "f"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 3,
                "iscrowd": 0,
                "area": width * height,
                "bbox": BOX,
                "segmentation": [polygon],
            }
        ],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    generate = ["pairs", "generate", "p", "--engine", "warp", "--images", "images", "--ann", "ann.json"]
    for command in (
        [*generate, "--folder", "out", "--workers", "1", "-q"],
        ["pairs", "merge", "p", "--folder", "out", "-q"],
        ["pairs", "annotate", "p", "--folder", "out", "-q"],
    ):
        assert run_app(app, command) == 0
    return tmp_path


def test_generate_reads_the_image_as_its_annotations_are_drawn(run: Path) -> None:
    with ImageReader(run / "out" / "p.h5") as images:
        view = decode_rgb(images.read("a_v0.jpg"), "view")
    assert view.shape == (HEIGHT, WIDTH, 3)
    entries = json.loads((run / "out/annotations/p.json").read_bytes())["annotations"]
    x, y, width, height = next(e["bbox"] for e in entries if e["bbox"] != BOX) if len(entries) > 1 else BOX
    middle = view[int(y + height / 2), int(x + width / 2)].astype(int)
    assert middle[0] > 150
    assert middle[2] < 110


def test_the_data_set_shows_it_under_its_boxes(run: Path) -> None:
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from ovforge.data import PairDataset

    view, _, targets = PairDataset(run / "out/p.h5", run / "out/annotations/p.json", masks=True)[0]
    assert tuple(view.shape) == (3, HEIGHT, WIDTH)
    assert tuple(targets["a"]["masks"].shape) == (1, HEIGHT, WIDTH)
    assert is_red_in_its_box(view.numpy().transpose(1, 2, 0))
    inside = view.numpy()[:, targets["a"]["masks"][0].numpy().astype(bool)]
    assert inside[0].mean() > 200


def test_the_sheet_shows_it_under_its_boxes(run: Path) -> None:
    assert run_app(app, ["pairs", "sheet", "p", "--folder", "out", "--out", "sheet.png", "-q"]) == 0
    sheet = cv2.imread(str(run / "sheet.png"))[..., ::-1]
    # The cells are 440x330, so the image is 2.75 times as large, from the first cell's corner on, below its file name.
    top, left = HEADER + CAPTION, GAP
    cell = sheet[top : top + CELL[1], left : left + CELL[0]]
    scaled = [round(side * CELL[0] / WIDTH) for side in BOX]
    middle = cell[scaled[1] + 40 : scaled[1] + scaled[3] - 10, scaled[0] + 10 : scaled[0] + scaled[2] - 10]
    corner = cell[-40:, -40:]
    assert np.median(middle[..., 0]) > 180
    assert np.abs(corner.astype(int) - 90).max() < 40


def test_the_viewer_shows_it_under_its_boxes(run: Path) -> None:
    pytest.importorskip("starlette", reason="the extra `viewer` is not installed")
    from ovforge.options.viewer import PairsViewOptions
    from ovforge.viewer.merged_source import MergedSource
    from ovforge.viewer.pairs_app import PairPages
    from ovforge.viewer.review import ReviewPages

    options = PairsViewOptions("p", folder=run / "out")
    source = MergedSource(options)
    row = next(r for r in range(2) if source.snapshot().arrays.file_name(r) == "a.jpg")
    pages, request = PairPages(source, ReviewPages(options.review)), SimpleNamespace(path_params={"row": row})
    for page in (pages.image, pages.thumb):
        shown = decode_rgb(bytes(page(request).body), "page", upright=True)  # type: ignore[arg-type]  # as a browser
        assert shown.shape == (HEIGHT, WIDTH, 3)
        assert is_red_in_its_box(shown)
    source.close()


def test_export_shows_it_under_its_boxes(run: Path) -> None:
    pytest.importorskip("jinja2", reason="the extra `viewer` is not installed")
    assert run_app(app, ["pairs", "view", "p", "--folder", "out", "--export", "page.html", "-q"]) == 0
    page = (run / "page.html").read_text()
    found = re.search(r'"a\.jpg"\s*:\s*"data:image/jpeg;base64,([^"]+)"', page)
    assert found
    shown = decode_rgb(base64.b64decode(found[1].replace("\\u003d", "=")), "export", upright=True)
    assert is_red_in_its_box(shown)

"""The pages over exemplars: a dictionary and a drawn file, in the browser and below."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from ovforge.errors import AnnotationFileError, ImageError
from ovforge.image_io.codec import decode_rgb
from ovforge.options.viewer import ExemplarsViewOptions
from ovforge.records.exemplar import Exemplar
from ovforge.viewer.exemplar_source import ExemplarSource
from ovforge.viewer.exemplars_app import crop


@pytest.fixture(scope="session")
def dictionary(sample_root: Path) -> Path:
    from ovforge.exemplars import collate_exemplars
    from ovforge.options.exemplars import CollateOptions

    datasets = sample_root / "datasets"
    out = sample_root / "made/exemplar_dict.json"
    collate_exemplars(
        CollateOptions(out, datasets / "lvis", datasets / "imagenet/imagenet21k_P", datasets / "VisualGenome")
    )
    return out


@pytest.fixture
def arguments(sample_root: Path) -> list[str]:
    datasets = sample_root / "datasets"
    return [
        *("--lvis-img-dir", str(datasets / "coco")),
        *("--imagenet-img-dir", str(datasets / "imagenet/imagenet21k_P")),
        *("--visual-genome-img-dir", str(datasets / "VisualGenome")),
    ]


def test_dictionary_in_the_browser(page: Any, serve: Any, dictionary: Path, arguments: list[str]) -> None:
    page.goto(serve("exemplars", "view", dictionary, *arguments))
    written = msgspec.json.decode(dictionary.read_bytes())
    total = sum(map(len, written.values()))
    short = sum(len(records) < 10 for records in written.values())
    assert f"{total:,} exemplars of 1,203 classes · {short:,} under 10" in page.locator(".state").inner_text()
    page.keyboard.press("/")
    page.keyboard.type("cup")
    page.get_by_role("link", name="cup 10", exact=False).first.click()
    page.wait_for_function("() => document.querySelector('.crops h2')?.textContent === 'cup'")
    page.wait_for_load_state("networkidle")
    sources = {record["dataset"] for record in written["cup.n.01"]}
    assert page.locator(".crops section").evaluate_all("all => all.map(s => s.dataset.source)") == [
        dataset for dataset in ("lvis", "imagenet21k", "visual_genome") if dataset in sources
    ]
    assert page.locator(".frame img").count() == len(written["cup.n.01"])
    page.wait_for_function("() => [...document.querySelectorAll('.frame img')].every(i => i.naturalWidth > 20)")
    assert page.locator(".frame.failed").count() == 0


def test_only_classes_that_fall_short(page: Any, serve: Any, dictionary: Path, arguments: list[str]) -> None:
    page.goto(serve("exemplars", "view", dictionary, *arguments))
    written = msgspec.json.decode(dictionary.read_bytes())
    page.get_by_label("Under 10").check(force=True)
    page.wait_for_function("() => document.querySelectorAll('#list li').length < 1203")
    assert page.locator("#list li").count() == sum(len(records) < 10 for records in written.values())
    page.get_by_label("Sort").select_option("few")
    assert page.locator("#list li .n").first.text_content() == "0"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.locator("#list [aria-current]").count() <= 1


def test_drawn_file_tells_repeated_exemplars(
    serve: Any, page: Any, dictionary: Path, tmp_path: Path, arguments: list[str]
) -> None:
    written = msgspec.json.decode(dictionary.read_bytes())
    cup, one = written["cup.n.01"], next(records for records in written.values() if 0 < len(records) < 5)
    (tmp_path / "K-005.json").write_bytes(msgspec.json.encode([cup[:5], [one[0]] * 5, []]))
    source = ExemplarSource(ExemplarsViewOptions(tmp_path / "K-005.json"))
    assert source.enough == 5
    assert [(entry.total, entry.distinct, source.is_short(entry)) for entry in source.classes] == [
        (5, 5, False),
        (5, 1, True),
        (0, 0, True),
    ]
    assert source.classes[0].synset == "cup.n.01"
    page.goto(serve("exemplars", "view", tmp_path / "K-005.json", *arguments))
    assert page.locator("#list li .n").all_inner_texts() == ["5", "1/5", "0"]


def test_images_that_are_not_there(page: Any, serve: Any, dictionary: Path, tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    places = [f"--{name}-img-dir" for name in ("lvis", "imagenet", "visual-genome")]
    address = serve("exemplars", "view", dictionary, *(part for place in places for part in (place, nothing)))
    page.goto(f"{address}#class=cup.n.01")
    page.wait_for_function("() => document.querySelectorAll('.frame.failed').length >= 5")


def test_nothing_else_can_be_read(serve: Any, sample_root: Path, tmp_path: Path) -> None:
    import http.client
    from urllib.parse import urlsplit

    for name in ("../../../etc/passwd", "/etc/passwd", "a/../../b"):
        record = {"dataset": "lvis", "file_name": name, "bbox": [0, 0, 10, 10], "category_id": 1}
        (tmp_path / "bad.json").write_bytes(msgspec.json.encode({"cup.n.01": [record]}))
        with pytest.raises(AnnotationFileError, match="not a path inside"):
            ExemplarSource(ExemplarsViewOptions(tmp_path / "bad.json"))
    (tmp_path / "empty.json").write_text("[]")
    place = urlsplit(serve("exemplars", "view", tmp_path / "empty.json")).netloc
    for path in ("/crop/0/0", "/crop/0/..%2f..%2fetc", "/api/class/0?source=lvis", "/crop/etc/passwd"):
        connection = http.client.HTTPConnection(place)
        connection.request("GET", path)
        assert connection.getresponse().status in (400, 404)


@pytest.mark.parametrize("content", ["", "5", '{"a": 5}', '{"a": [{}]}', "[5]", "[[", '{"a": ['])
def test_refuses_what_holds_no_exemplars(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(AnnotationFileError, match=r"bad\.json"):
        ExemplarSource(ExemplarsViewOptions(tmp_path / "bad.json"))


@pytest.mark.parametrize("scale", [1, 4])
def test_a_crop_shows_the_box(scale: int) -> None:
    """The object is in the middle, also where the image is decoded at a part of its size."""
    image = np.zeros((400 * scale, 600 * scale, 3), np.uint8)
    x, y, side = 300 * scale, 100 * scale, 200 * scale
    image[y : y + side, x : x + side] = 255
    data = cv2.imencode(".jpg", image)[1].tobytes()
    box = (float(x), float(y), float(side), float(side))
    shown = decode_rgb(crop(data, Exemplar("lvis", "train2017/a.jpg", bbox=box)), "crop")[..., 0]
    assert max(shown.shape) <= 288
    assert abs(shown.shape[0] - shown.shape[1]) <= 2
    white = np.argwhere(shown > 128)
    size = shown.shape[0]
    assert white.min(axis=0).tolist() == pytest.approx([size / 7] * 2, abs=3)
    assert white.max(axis=0).tolist() == pytest.approx([size * 6 / 7] * 2, abs=3)


def test_boxes_at_the_border_and_outside() -> None:
    data = cv2.imencode(".jpg", np.full((50, 80, 3), 99, np.uint8))[1].tobytes()
    assert crop(data, Exemplar("lvis", "a.jpg", bbox=(70.0, 40.0, 30.0, 30.0)))
    for box in ((200.0, 10.0, 5.0, 5.0), (1.0, 1.0, 0.0, 5.0), (-50.0, -50.0, 5.0, 5.0)):
        with pytest.raises(ImageError, match="outside the image"):
            crop(data, Exemplar("lvis", "a.jpg", bbox=box))
    with pytest.raises(ImageError):
        crop(data[:60], Exemplar("lvis", "a.jpg", bbox=(1.0, 1.0, 20.0, 20.0)))


def test_reads_a_packed_copy_too(sample_root: Path, dictionary: Path, tmp_path: Path) -> None:
    from ovforge.image_io.hdf5 import ImageWriter

    with ImageWriter(tmp_path / "train_imgs.hdf5") as writer:
        for path in sorted((sample_root / "datasets/coco/train2017").iterdir()):
            writer.add(path.name, path.read_bytes())
    source = ExemplarSource(ExemplarsViewOptions(dictionary, tmp_path / "train_imgs.hdf5"))
    entry = next(entry for entry in source.classes if entry.counts[0])
    exemplar = next(one for one in source.exemplars(entry.position) if one.dataset == "lvis")
    assert source.image(exemplar).startswith(b"\xff\xd8")
    shutil.rmtree(tmp_path, ignore_errors=True)

"""The pages over exemplars: a dictionary and a drawn file, in the browser and below."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from ovforge.errors import AnnotationFileError, ImageError, InputError, MissingInputError
from ovforge.image_io.codec import decode_rgb
from ovforge.options.viewer import ExemplarsViewOptions
from ovforge.records.exemplar import Exemplar
from ovforge.records.exemplar_check import CheckedClass, ConfusedClass, ExemplarCheck, NearDuplicate, Outlier
from ovforge.taxonomy import class_by_synset, lvis_classes
from ovforge.viewer.exemplar_crop import crop
from ovforge.viewer.exemplar_source import ExemplarSource
from ovforge.viewer.security import Access

CUP, OTHER, SPOON = "cup.n.01", "saucer.n.02", "spoon.n.01"


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


@pytest.fixture(scope="module")
def checked(sample_root: Path, dictionary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the dictionary's pages with a report of `exemplars check`, served from a thread here."""
    import threading

    import uvicorn

    from ovforge.viewer.exemplars_app import exemplars_app
    from ovforge.viewer.serve import listen

    datasets = sample_root / "datasets"
    folder = tmp_path_factory.mktemp("checked")
    (folder / "exemplars.check.json").write_bytes(msgspec.json.encode(a_report(dictionary)))
    (folder / "val.json").write_bytes(msgspec.json.encode({"images": [], "categories": [{
        "id": 344, "name": "cup", "synset": "cup.n.01", "frequency": "f", "synonyms": ["cup", "coffee_mug"],
        "def": "a small open container usually used for drinking",
    }]}))  # fmt: skip
    images = (datasets / "coco", datasets / "imagenet/imagenet21k_P", datasets / "VisualGenome")
    options = ExemplarsViewOptions(
        dictionary, *images, check=folder / "exemplars.check.json", categories=folder / "val.json"
    )
    source = ExemplarSource(options)
    with listen("127.0.0.1", 0) as bound:
        app = exemplars_app(source, Access(base_path="/user/me/proxy", command="exemplars view FILE"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join()
    source.close()


def identity(record: dict[str, Any]) -> str:
    return msgspec.convert(record, Exemplar).identity


def a_report(dictionary: Path) -> ExemplarCheck:
    """As `exemplars check` would write it: the first two cups are copies, the third looks like a spoon."""
    written = msgspec.json.decode(dictionary.read_bytes())
    cups = [identity(record) for record in written[CUP]]
    return ExemplarCheck(
        model={"name": "tiny-clip"},
        exemplars=sum(map(len, written.values())),
        leave_one_out=0.75,
        duplicates=(
            NearDuplicate(cups[0], cups[1], 0.991, (CUP, CUP), across=False),
            NearDuplicate(cups[0], identity(written[OTHER][0]), 0.98, (CUP, OTHER), across=True),
            NearDuplicate(cups[0], "lvis:train2017/000000000001.jpg:7", 0.975, (CUP, CUP), across=True),
        ),
        outliers=(Outlier(cups[2], CUP, 0.41, 0.75, SPOON),),
        confused=(ConfusedClass(CUP, SPOON, 0.31, 0.29, 4),),
        classes=tuple(
            CheckedClass(number, synset, synset, len(records), 1 / len(records))
            for number, (synset, records) in enumerate(written.items())
            if len(records) > 1
        ),
    )


def heading(page: Any, text: str) -> None:
    page.wait_for_function("text => document.querySelector('.crops h2')?.textContent === text", arg=text)


def listed(page: Any) -> list[str]:
    names: list[str] = page.locator("#list a > span:first-child").evaluate_all(
        "all => all.map(span => span.firstChild.textContent)"
    )
    return names


def enlarged(page: Any, place: str) -> None:
    page.wait_for_function("text => document.getElementById('exemplar-place').textContent === text", arg=place)
    page.wait_for_function("() => document.getElementById('enlarged').naturalWidth > 20")


def test_dictionary_in_the_browser(page: Any, serve: Any, dictionary: Path, arguments: list[str]) -> None:
    page.goto(serve("exemplars", "view", dictionary, *arguments, "--no-browser"))
    written = msgspec.json.decode(dictionary.read_bytes())
    total = sum(map(len, written.values()))
    short = sum(len(records) < 10 for records in written.values())
    assert f"{total:,} exemplars of 1,203 classes · {short:,} under 10" in page.locator(".state").first.inner_text()
    page.keyboard.press("/")
    page.keyboard.type("cup")
    page.get_by_role("link", name="cup 10", exact=False).first.click()
    heading(page, "cup")
    page.wait_for_load_state("networkidle")
    sources = {record["dataset"] for record in written[CUP]}
    assert page.locator(".crops section").evaluate_all("all => all.map(s => s.dataset.source)") == [
        dataset for dataset in ("lvis", "imagenet21k", "visual_genome") if dataset in sources
    ]
    assert page.locator(".crop img").count() == len(written[CUP])
    page.wait_for_function("() => [...document.querySelectorAll('.crop img')].every(i => i.naturalWidth > 20)")
    assert page.locator(".crop.failed").count() == 0
    page.get_by_role("link", name="Check", exact=True).click()
    heading(page, "Check")
    assert "ovforge exemplars check exemplar_dict.json --features FOLDER" in page.locator(".crops pre").inner_text()


def test_classes_are_found_sorted_and_narrowed(page: Any, checked: str, dictionary: Path) -> None:
    written = msgspec.json.decode(dictionary.read_bytes())
    page.goto(checked)
    assert page.locator("#list li").count() == 1203
    search = page.get_by_label("Search a class")
    for text in ("Stop Sign", "STOP_SIGN", "stop-sign", "stop_sign.n.01"):
        search.fill(text)
        assert listed(page) == ["stop_sign"], text
    search.fill("coffee mug")
    assert listed(page) == ["cup"]  # by a synonym of the categories
    search.fill("alarm clock|stop sign")
    assert listed(page) == ["alarm_clock", "stop_sign"]
    assert page.locator("#matching").inner_text() == "2 of 1,203 classes"
    assert page.url.endswith("#q=alarm+clock%7Cstop+sign")
    search.fill("")
    page.get_by_label("Under 10").check(force=True)
    assert page.locator("#list li").count() == sum(len(records) < 10 for records in written.values())
    page.get_by_label("Rare").check(force=True)
    page.get_by_label("Common").check(force=True)
    rare = [cls.name for cls in lvis_classes() if cls.frequency in "rc" and len(written[cls.synset]) < 10]
    assert sorted(listed(page)) == sorted(rare)
    page.get_by_label("All", exact=True).check(force=True)
    page.get_by_label("Rare").uncheck(force=True)
    page.get_by_label("Common").uncheck(force=True)
    sort = page.get_by_label("Sort")
    distinct = {cls.name: len({identity(one) for one in written[cls.synset]}) for cls in lvis_classes()}
    for value, key in (("most", lambda name: -distinct[name]), ("few", distinct.__getitem__), ("name", str.lower)):
        sort.select_option(value)
        keys = [
            key(name.replace("_", " ").replace("-", " ")) if value == "name" else key(name) for name in listed(page)
        ]
        assert keys == sorted(keys)
    sort.select_option("flagged")
    assert listed(page)[0] == "cup"
    sort.select_option("most")
    page.get_by_role("radio", name="Flagged").check(force=True)
    flagged = listed(page)
    assert set(flagged) == {"cup", class_by_synset()[OTHER].name}
    link = page.url
    assert link.endswith("#which=flagged&sort=most")
    page.goto("about:blank")
    page.goto(link)
    assert listed(page) == flagged
    assert sort.input_value() == "most"
    page.locator("#list a").first.click()
    page.keyboard.press("ArrowDown")
    heading(page, flagged[1])
    assert page.locator("#list [aria-current]").all_inner_texts()[0].startswith(flagged[1])
    assert "which=flagged" in page.url


def test_a_class_with_what_is_known_of_it(page: Any, checked: str, dictionary: Path) -> None:
    written = msgspec.json.decode(dictionary.read_bytes())[CUP]
    page.goto(f"{checked}user/me/proxy/#class=Cup")  # in any case, under the path that a proxy leaves on
    heading(page, "cup")
    said = page.locator(".crops").inner_text()
    for text in (
        "cup.n.01 · frequent · ", f"leave-one-out accuracy {round(100 / len(written))} %", "also: coffee mug",
        "a small open container usually used for drinking",
        "look more like the text of spoon (0.310) than like its own (0.290, in place 4)",
    ):  # fmt: skip
        assert text in said
    page.wait_for_load_state("networkidle")
    assert page.locator(".flag.line").all_inner_texts() == [
        "near-duplicate in train and val",
        "near-duplicate",
        "outlier: looks like spoon",
    ]
    (source, *_) = {record["dataset"] for record in written} - {"lvis"}
    page.locator(f".sources input[value={source}]").check(force=True)
    page.wait_for_function("() => document.querySelectorAll('.crops section').length === 1")
    assert page.url.endswith(f"#class=Cup&source={source}")
    page.wait_for_load_state("networkidle")
    assert page.locator(".crop").count() == sum(record["dataset"] == source for record in written)
    page.go_back()
    page.goto(f"{checked}#class=nothing")
    assert "This file has no class nothing." in page.locator(".crops").inner_text()


def test_a_crop_enlarges(page: Any, checked: str, dictionary: Path) -> None:
    written = msgspec.json.decode(dictionary.read_bytes())[CUP]
    total = len(written)
    page.goto(f"{checked}#class=cup")
    page.locator(".crop").first.click()
    enlarged(page, f"1 of {total}")
    assert page.url.endswith("#class=cup&open=1")
    assert page.locator("#exemplar").get_attribute("open") is not None
    facts = page.locator("#exemplar-facts").inner_text()
    assert written[0]["file_name"] in facts
    assert "cosine 0.991" in facts
    assert page.get_by_role("button", name="Previous exemplar").is_disabled()
    page.keyboard.press("ArrowRight")
    enlarged(page, f"2 of {total}")
    assert page.url.endswith("open=2")
    cut = page.locator("#enlarged").get_attribute("src")
    page.keyboard.press("w")
    assert "size=whole" in page.locator("#enlarged").get_attribute("src")
    page.keyboard.press("b")
    assert page.url.endswith("open=2&whole=1&box=0")
    shared = page.url
    page.get_by_role("button", name="Whole image").click()
    page.get_by_role("button", name="Box").click()
    assert page.locator("#enlarged").get_attribute("src") == cut
    page.keyboard.press("ArrowLeft")
    enlarged(page, f"1 of {total}")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.getElementById('exemplar').open")
    assert page.url.endswith("#class=cup")
    page.goto("about:blank")
    page.goto(shared)
    enlarged(page, f"2 of {total}")
    assert page.get_by_role("button", name="Whole image").get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="Box").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.getElementById('exemplar').open")
    page.goto(f"{checked}#class=cup&open=999")
    page.wait_for_selector("#exemplar-facts [role=alert]")
    assert f"class cup has no exemplar 999, it has {total}" in page.locator("#exemplar-facts").inner_text()


def test_what_the_check_found_opens_its_crops(page: Any, checked: str) -> None:
    page.goto(checked)
    page.get_by_role("link", name="Check", exact=True).click()
    heading(page, "Check")
    page.wait_for_selector(".findings li")
    kinds = page.locator(".sources label").all_inner_texts()
    assert kinds[:4] == ["Near-duplicates 3", "In train and val 2", "Outliers 1", "Nearer to another text 1"]
    assert page.locator(".findings li p").first.inner_text() == "cosine 0.991"
    page.get_by_label("In train and val").check(force=True)
    page.wait_for_function("() => document.querySelectorAll('.findings li').length === 2")
    assert "check=across" in page.url
    first, second = page.locator(".findings li").all()
    assert "two classes" in first.inner_text()
    assert "in the other list, not in this file" in second.inner_text()
    page.get_by_label("Outliers").check(force=True)
    page.wait_for_function("() => document.querySelectorAll('.findings li').length === 1")
    assert "0.41 where 0.75 is usual; looks like spoon" in page.locator(".findings li").inner_text()
    page.locator(".findings .crop").click()
    page.wait_for_function("() => document.getElementById('exemplar-place').textContent.startsWith('3 of')")
    assert "It looks like spoon" in page.locator("#exemplar-facts").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.getElementById('exemplar').open")
    assert page.url.endswith("#check=outliers")
    page.get_by_label("Accuracy").check(force=True)
    page.wait_for_selector(".found tbody tr")
    accuracies = page.locator(".found tbody tr td:last-child").all_inner_texts()
    assert len(accuracies) > 5
    assert accuracies == sorted(accuracies, key=lambda text: int(text.split()[0]))
    page.get_by_label("Nearer to another text").check(force=True)
    page.wait_for_function("() => document.querySelectorAll('.found tbody tr').length === 1")
    page.get_by_role("row", name="cup").get_by_role("link", name="spoon").click()
    heading(page, "spoon")
    assert page.url.endswith("#class=spoon")


def test_a_refused_host_is_told_the_option(checked: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(checked).netloc)
    connection.request("GET", "/", headers={"Host": "hub.example"})
    answer = connection.getresponse()
    assert answer.status == 421
    assert "ovforge exemplars view FILE --allow-host hub.example\n" in answer.read().decode()
    connection.close()


def test_axe_finds_nothing(chromium: Any, checked: str) -> None:
    """Names, roles and contrast, light and dark, narrow and wide; nothing is cut off at the side."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    narrow, usual = 420, 1440
    places = {
        "#class=cup&q=cup": ((usual, "dark"), (narrow, "light")),
        "#class=cup&q=cup&open=1": ((narrow, "dark"),),
        "#q=cup&check=across": ((usual, "light"),),
        "#q=cup&check=accuracy": ((narrow, "dark"),),
    }
    for place, looks in places.items():
        page.goto("about:blank")
        page.goto(checked + place)
        page.wait_for_load_state("networkidle")
        page.set_viewport_size({"width": 2560, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 2560, place
        for width, scheme in looks:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (place, width)
            options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
            found = axe.Axe().run(page, options=options).response
            assert "color-contrast" in {one["id"] for one in found["passes"]}
            told = [(one["id"], [node["html"][:150] for node in one["nodes"][:3]]) for one in found["violations"]]
            assert told == [], (place, width, scheme)
    context.close()


def test_a_report_that_cannot_be_read(dictionary: Path, tmp_path: Path) -> None:
    file = tmp_path / "drawn.json"
    cups = msgspec.json.decode(dictionary.read_bytes())[CUP][:3]
    file.write_bytes(msgspec.json.encode([cups]))
    (tmp_path / "drawn.check.json").write_text("{}")
    source = ExemplarSource(ExemplarsViewOptions(file))
    assert source.findings is None
    assert "drawn.check.json: is no report on exemplars" in source.notes[0]
    with pytest.raises(InputError, match=r"drawn\.check\.json: is no report on exemplars"):
        ExemplarSource(ExemplarsViewOptions(file, check=tmp_path / "drawn.check.json"))
    with pytest.raises(MissingInputError, match="report on exemplars not found"):
        ExemplarSource(ExemplarsViewOptions(file, check=tmp_path / "none.json"))
    with pytest.raises(MissingInputError, match=r"none\.json"):
        ExemplarSource(ExemplarsViewOptions(file, categories=tmp_path / "none.json"))


def test_classes_of_lists_have_names(dictionary: Path, tmp_path: Path) -> None:
    """Also those without exemplars, by their place among the categories; a class of an own data set by its file."""
    cup = msgspec.json.decode(dictionary.read_bytes())[CUP][0]
    lists: list[list[Any]] = [[] for _ in range(1203)]
    lists[343] = [cup]
    (tmp_path / "drawn.json").write_bytes(msgspec.json.encode(lists))
    classes = ExemplarSource(ExemplarsViewOptions(tmp_path / "drawn.json")).classes
    assert [entry.name for entry in classes] == [cls.name for cls in lvis_classes()]
    own = [{"id": 7, "name": "gear"}, {"id": cup["category_id"], "name": "beaker", "synset": "cup.n.01"}]
    (tmp_path / "own.json").write_bytes(msgspec.json.encode({"categories": own}))
    (tmp_path / "two.json").write_bytes(msgspec.json.encode([[], [cup]]))
    options = ExemplarsViewOptions(tmp_path / "two.json", categories=tmp_path / "own.json")
    assert [entry.name for entry in ExemplarSource(options).classes] == ["gear", "beaker"]


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
    page.locator("#list a").nth(1).click()
    page.wait_for_function("() => document.querySelectorAll('.crop').length === 5")
    assert "drawn 5 times" in page.locator(".crops figcaption").first.inner_text()


def test_images_that_are_not_there(page: Any, serve: Any, dictionary: Path, tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    places = [f"--{name}-img-dir" for name in ("lvis", "imagenet", "visual-genome")]
    address = serve("exemplars", "view", dictionary, *(part for place in places for part in (place, nothing)))
    page.goto(f"{address}#class=cup.n.01")
    page.wait_for_function("() => document.querySelectorAll('.crop.failed').length >= 5")


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
    for path in (
        "/crop/0/0",
        "/crop/0/..%2f..%2fetc",
        "/api/class/0?source=lvis",
        "/crop/etc/passwd",
        "/api/exemplar/0/0",
        "/api/check/duplicates",
        "/api/check/..",
    ):
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
    exemplar = Exemplar("lvis", "train2017/a.jpg", bbox=box)
    shown = decode_rgb(crop(data, exemplar, 288), "crop")[..., 0]
    assert max(shown.shape) <= 288
    assert abs(shown.shape[0] - shown.shape[1]) <= 2
    white = np.argwhere(shown > 128)
    size = shown.shape[0]
    assert white.min(axis=0).tolist() == pytest.approx([size / 7] * 2, abs=3)
    assert white.max(axis=0).tolist() == pytest.approx([size * 6 / 7] * 2, abs=3)
    whole = decode_rgb(crop(data, exemplar, 300, whole=True), "whole")[..., 0]
    assert whole.shape == (200, 300)
    white = np.argwhere(whole > 128)
    assert (*white.min(axis=0), *white.max(axis=0)) == pytest.approx((50, 150, 149, 249), abs=2)


def test_a_marked_box_is_drawn_and_its_surroundings_are_dimmed() -> None:
    data = cv2.imencode(".png", np.full((100, 100, 3), 200, np.uint8))[1].tobytes()
    exemplar = Exemplar("lvis", "a.png", bbox=(30.0, 40.0, 20.0, 20.0))
    marked = decode_rgb(crop(data, exemplar, 100, whole=True), "crop")[..., 1].astype(int)
    plain = decode_rgb(crop(data, exemplar, 100, whole=True, mark=False), "crop")[..., 1].astype(int)
    assert np.abs(plain - 200).max() < 4
    assert abs(marked[10, 10] - 120) < 8
    assert abs(marked[50, 40] - 200) < 8
    assert marked[50, 30] > 225
    assert marked[50, 29] < 60
    # An upright crop of an image that is stored on its side: the box turns with it.
    turned = with_orientation(cv2.imencode(".jpg", np.full((60, 100, 3), 200, np.uint8))[1].tobytes(), 6)
    shown = decode_rgb(crop(turned, Exemplar("lvis", "a.jpg", bbox=(0.0, 0.0, 50.0, 60.0)), 100, whole=True), "crop")
    assert shown.shape[:2] == (100, 60)
    assert shown[25, 30, 1] > 180
    assert shown[75, 30, 1] < 140


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def test_boxes_at_the_border_and_outside() -> None:
    data = cv2.imencode(".jpg", np.full((50, 80, 3), 99, np.uint8))[1].tobytes()
    assert crop(data, Exemplar("lvis", "a.jpg", bbox=(70.0, 40.0, 30.0, 30.0)), 288)
    for box in ((200.0, 10.0, 5.0, 5.0), (1.0, 1.0, 0.0, 5.0), (-50.0, -50.0, 5.0, 5.0)):
        with pytest.raises(ImageError, match="outside the image"):
            crop(data, Exemplar("lvis", "a.jpg", bbox=box), 288)
    with pytest.raises(ImageError):
        crop(data[:60], Exemplar("lvis", "a.jpg", bbox=(1.0, 1.0, 20.0, 20.0)), 288)


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

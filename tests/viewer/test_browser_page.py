"""The pair page, tiles and statistics in a real browser: numbers, colours, labels, outlines, zoom, layout, contrast."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

CUP = "000000900002_v0.jpg"
SKIPPED = urlencode({"kind": "image", "reason": "has no usable object: its second view is the image itself", "kept": 1})
NAMED = "() => [...document.querySelectorAll('.tile')].some(t => t.dataset.name)"


def opened(page: Any, address: str) -> None:
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#view-1 .box")
    page.wait_for_function("() => [...document.querySelectorAll('.image img')].every(i => i.naturalWidth)")


def state(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('state').textContent.startsWith(text)", arg=text)


def test_objects_have_one_number_in_both_views_and_the_table(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair=000000900004_v0.jpg")
    numbers = page.evaluate(
        "() => [0, 1].map(s => Object.fromEntries([...document.querySelectorAll(`#view-${s} .label`)]"
        ".map(l => [l.dataset.track, l.firstChild.textContent])))"
    )
    rows = page.locator(".objects .number").all_inner_texts()
    assert rows == [str(number + 1) for number in range(len(rows))]
    assert len(rows) == 6
    assert sorted(numbers[0].values()) == rows
    assert all(numbers[0][track] == number for track, number in numbers[1].items())


def test_colours_of_a_pair_are_far_from_each_other(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair=000000900004_v0.jpg")
    hues = page.locator(".objects .number").evaluate_all(
        "all => all.map(n => +getComputedStyle(n).backgroundColor.match(/oklch\\([^ ]+ [^ ]+ ([0-9.]+)/)[1])"
    )
    apart = [min(abs(a - b), 360 - abs(a - b)) for i, a in enumerate(hues) for b in hues[:i]]
    assert min(apart) > 360 / len(hues) - 2


@pytest.mark.parametrize("size", [(1440, 900), (420, 844), (2560, 1300)])
def test_labels_cover_no_other_label(page: Any, demo: str, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for name in ("000000900004_v0.jpg", CUP, "000000900001_v1.jpg"):
        opened(page, f"{demo}#pair={name}")
        for side in (0, 1):
            boxes = page.locator(f"#view-{side} .label:not([hidden])").evaluate_all(
                "all => all.map(l => l.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
            )
            assert boxes
            for i, a in enumerate(boxes):
                for b in boxes[:i]:
                    apart = a[0] >= b[2] - 0.6 or b[0] >= a[2] - 0.6 or a[1] >= b[3] - 0.6 or b[1] >= a[3] - 0.6
                    assert apart, (name, side, a, b)


def test_outlines_of_masks_are_drawn(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair={CUP}")
    assert not page.locator("#view-1 polygon").first.is_visible()
    page.keyboard.press("o")
    assert page.locator("#view-1 polygon").first.is_visible()
    assert "outlines=1" in page.url
    inside = page.evaluate(
        """() => [...document.querySelectorAll('#view-1 .box')].every(box => {
          const shapes = document.querySelectorAll(`#view-1 polygon[data-track="${box.dataset.track}"]`);
          const b = box.getBoundingClientRect();
          return shapes.length && [...shapes].every(s => { const r = s.getBoundingClientRect();
            return r.left > b.left - 6 && r.right < b.right + 6 && r.top > b.top - 6 && r.bottom < b.bottom + 6;
          }); })"""
    )
    assert inside


def test_both_views_zoom_and_move_together(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair={CUP}")
    transforms = "() => [0, 1].map(s => document.querySelector(`#view-${s} .zoom`).style.transform)"
    before = page.locator("#view-1 .image").bounding_box()
    page.mouse.move(before["x"] + before["width"] / 4, before["y"] + before["height"] / 4)
    page.mouse.wheel(0, -400)
    first, second = page.evaluate(transforms)
    assert first == second
    assert first.startswith("scale(2.2")
    assert "zoom=2.2" in page.url
    # The point under the pointer stays where it is.
    place = page.locator("#view-1 .zoom").bounding_box()
    assert before["x"] + before["width"] / 4 - place["x"] == pytest.approx(place["width"] / 4, abs=2)
    page.mouse.down()
    page.mouse.move(before["x"] + before["width"] / 4 - 60, before["y"] + before["height"] / 4 - 30)
    page.mouse.up()
    moved = page.locator("#view-1 .zoom").bounding_box()
    assert (moved["x"] - place["x"], moved["y"] - place["y"]) == pytest.approx((-60, -30), abs=2)
    first, second = page.evaluate(transforms)
    assert first == second
    assert page.locator("#view-1 .image").bounding_box() == before
    link = page.url
    opened(page, link)
    assert page.evaluate(transforms)[1].startswith("scale(2.2")
    page.keyboard.press("0")
    assert page.evaluate(transforms) == ["", ""]
    page.get_by_role("button", name="Zoom in").click()
    assert page.get_by_role("button", name="Whole image").inner_text() == "150 %"


def test_wide_images_stand_one_above_the_other(page: Any, serve: Any, tmp_path: Path) -> None:
    import cv2
    import msgspec
    import numpy as np

    from ovforge.image_io.hdf5 import ImageWriter

    (tmp_path / "annotations").mkdir()
    image = cv2.imencode(".jpg", np.full((300, 1200, 3), 90, np.uint8))[1].tobytes()
    with ImageWriter(tmp_path / "wide.h5") as writer:
        for name in ("a.jpg", "a_v0.jpg"):
            writer.add(name, image)
    images = [
        {"id": number + 1, "file_name": name, "width": 1200, "height": 300, "video_id": 1, "frame_id": number}
        for number, name in enumerate(("a.jpg", "a_v0.jpg"))
    ]
    objects = [
        {"id": number + 1, "image_id": number + 1, "category_id": 1, "track_id": 1, "bbox": [100, 50, 80, 60],
         "area": 4800, "video_id": 1, "iscrowd": 0} for number in range(2)
    ]  # fmt: skip
    content = {
        "videos": [{"id": 1}],
        "images": images,
        "annotations": objects,
        "categories": [{"id": 1, "name": "bus"}],
    }
    (tmp_path / "annotations/wide.json").write_bytes(msgspec.json.encode(content))
    opened(page, serve("pairs", "view", "wide", "--folder", tmp_path) + "#pair=a_v0.jpg")
    first, second = (page.locator(f"#view-{side} .image").bounding_box() for side in (0, 1))
    assert first["width"] == second["width"] > 900
    assert second["y"] > first["y"] + first["height"]
    # Nothing was repainted, no mask and no frequency are known: there is no control for them.
    assert not page.locator("#mask").is_visible()
    assert not page.locator("#outlines").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("input[name=freq]").count() == 0
    assert page.locator("input[name=fidelity_from]").count() == 0


def test_slider_shows_the_original_on_its_left(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair={CUP}&mode=slider&divide=30")
    assert page.locator("#divide").input_value() == "30"
    assert page.locator("#divide-text").inner_text() == "Original 30 % · second view 70 %"
    image = page.locator("#view-1 .image").bounding_box()
    at = "([x, y]) => document.elementsFromPoint(x, y).find(e => e.matches('.image')).parentElement.id"
    y = image["y"] + image["height"] / 2
    assert page.evaluate(at, [image["x"] + image["width"] * 0.2, y]) == "view-0"
    assert page.evaluate(at, [image["x"] + image["width"] * 0.4, y]) == "view-1"
    left, right = (page.locator(f"#view-{side} .corner").bounding_box() for side in (0, 1))
    assert left["x"] < image["x"] + image["width"] * 0.3 < right["x"]


def test_legend_stands_by_what_was_repainted(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair={CUP}")
    assert not page.locator("#legend").is_visible()
    page.keyboard.press("m")
    assert "the original around the moved image" in page.locator("#legend").inner_text()  # `warp` repaints nothing
    # The second view of an image without usable objects is the image itself.
    page.goto(f"{demo}#pair=000000900016_v0.jpg")
    page.wait_for_function("() => document.getElementById('pair-name').textContent === '000000900016_v0.jpg'")
    assert not page.locator("#mask").is_visible()
    assert not page.locator("#legend").is_visible()


@pytest.mark.parametrize(
    ("engine", "words"),
    [({"engine": "diffusion", "repaint": "holes"}, "repainted"), ({"engine": "fill"}, "completed background")],
)
def test_legend_says_who_made_it(page: Any, demo: str, engine: dict[str, str], words: str) -> None:
    def other_engine(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), "engine": engine})

    address = re.compile(r"/api/pair\?")
    page.route(address, other_engine)
    try:
        opened(page, f"{demo}#pair={CUP}&mask=1")
        assert page.locator("#legend").inner_text().startswith(words)
    finally:
        page.unroute(address)


def test_tiles_show_boxes_and_can_do_without(page: Any, demo: str) -> None:
    page.goto(demo)
    page.wait_for_function(NAMED)
    boxes = page.locator(f".tile[data-name='{CUP}'] .small:last-child rect")
    assert boxes.count() == 4
    assert boxes.first.is_visible()
    page.keyboard.press("b")
    assert not boxes.first.is_visible()
    assert "hide=tiles" in page.url
    page.reload()
    page.wait_for_function(NAMED)
    assert not boxes.first.is_visible()


def test_filter_bar_is_one_row(page: Any, demo: str) -> None:
    for width in (1280, 1440, 2560):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(demo)
        page.wait_for_function(NAMED)
        bottoms = page.locator("#query > *:visible").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().bottom)"
        )
        assert max(bottoms) - min(bottoms) < 8, width


def test_names_of_classes_stand_in_the_address(page: Any, demo: str) -> None:
    page.goto(demo)
    page.wait_for_function(NAMED)
    page.get_by_label("Class", exact=True).fill("Cup")
    state(page, "8 pairs of 32")
    assert page.url.endswith("#class=Cup")
    page.goto(f"{demo}#class=CUP&sort=grown")
    state(page, "8 pairs of 32")
    assert page.get_by_label("Class", exact=True).input_value() == "CUP"


def test_every_bar_opens_its_pairs(page: Any, demo: str) -> None:
    page.goto(f"{demo}statistics")
    links = page.locator(".plot a, .rows a").evaluate_all(
        "all => all.map(a => [a.getAttribute('href'), a.getAttribute('aria-label') || a.textContent])"
    )
    assert len(links) > 20
    kinds: dict[str, str] = {}
    for href, label in links:
        kinds.setdefault(href.split("#")[1].split("=")[0], href)
        assert label
    assert {"class", "size_from", "first_from", "motion", "objects_from"} <= set(kinds)
    for key, href in kinds.items():
        found = page.evaluate("query => fetch('api/pairs?' + query).then(a => a.json())", href.split("#")[1])
        assert 0 < found["total"] <= 32, key
    page.locator(".rows a").first.click()
    page.wait_for_selector(".chip")
    assert page.locator(".chip").first.inner_text().startswith("motion: ")
    page.locator(".chip").first.click()
    state(page, "32 pairs")
    assert "motion" not in page.url


def test_pointing_at_an_object_in_the_list_picks_it_out(page: Any, demo: str) -> None:
    opened(page, f"{demo}#pair={CUP}")
    strong = "() => [...document.querySelectorAll('.box.strong')].map(b => b.closest('.view').id + b.dataset.track)"
    row = page.locator(".objects tbody tr:not(.more)").nth(1)
    track = row.locator("td").first.get_attribute("title").split()[1]
    row.hover()
    assert page.evaluate(strong) == [f"view-0{track}", f"view-1{track}"]
    assert "faded" in page.locator("#stage").get_attribute("class")
    page.locator("#pair-name").hover()
    assert page.evaluate(strong) == []
    row.get_by_role("button").focus()  # the keyboard's way
    assert page.evaluate(strong) == [f"view-0{track}", f"view-1{track}"]


STATE = """() => ({
  form: Object.fromEntries([...document.querySelectorAll('#query [name]')].map(f => [f.name + f.type + (f.type ===
    'checkbox' ? f.value : ''), f.type === 'checkbox' ? f.checked : f.value])),
  shown: document.getElementById('state').textContent, tiles: document.getElementById('tiles').checked,
  pair: document.getElementById('pair-name').textContent, place: document.getElementById('pair-place').textContent,
  toggles: ['boxes', 'labels', 'outlines', 'mask'].map(id => document.getElementById(id).checked),
  mode: document.getElementById('stage').dataset.mode, divide: document.getElementById('divide').value,
  zoom: document.querySelector('#view-1 .zoom').style.transform.replace(/[\\d.]+(?=%)/g, n => (+n).toFixed(1)),
  chips: [...document.querySelectorAll('.chip')].map(c => c.textContent),
})"""


def test_every_state_is_in_the_address(page: Any, chromium: Any, demo: str) -> None:
    """Everything is set by hand; whoever opens the address sees the same."""
    page.goto(f"{demo}#scale_from=0.1&motion=affine")
    page.wait_for_function(NAMED)
    for label, value in (("File name", "9000"), ("Class", "u"), ("Object size from, pixels", "5"),
                         ("Object size to, pixels", "900"), ("Number of objects from", "1"),
                         ("Number of objects to", "9")):  # fmt: skip
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("frequent").check(force=True)
    page.get_by_text("Scores", exact=True).click()
    for name in ("Fidelity", "Visibility"):
        page.get_by_label(f"{name} from").fill("0.01")
        page.get_by_label(f"{name} to").fill("1")
    page.get_by_label("Sort").select_option("shrunk")
    page.locator("select[name=verdict]").select_option("none")
    page.get_by_role("group", name="Tiles").get_by_label("Boxes").uncheck(force=True)
    page.wait_for_function("() => location.hash.includes('verdict=none') && location.hash.includes('sort=shrunk')")
    page.wait_for_function(NAMED)
    page.locator(".tile[data-name]").nth(1).click()
    page.wait_for_selector("#view-1 .box")
    for key in ("l", "o", "m", "b", "s", "+", "+"):
        page.keyboard.press(key)
    page.locator("#divide").fill("30")
    page.keyboard.press("Shift+ArrowRight")
    before = page.evaluate(STATE)
    assert before["mode"] == "slider"
    assert before["toggles"] == [False, False, True, True]
    other = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    opened(other, page.url)
    assert other.evaluate(STATE) == before
    other.context.close()


@pytest.mark.parametrize("what", ["grid", "pair", "clip", "statistics"])
def test_every_control_is_reached_by_keyboard(page: Any, demo: str, clips: str, what: str) -> None:
    place, loaded = {
        "grid": (f"{demo}#name=900002&motion=affine", ".tile[data-name]"),
        "pair": (f"{demo}#pair={CUP}&mode=slider", "#view-1 .box"),
        "clip": (f"{clips}#pair=000000000001_v0_f001.jpg&frame=1", "#view-1 .box"),
        "statistics": (f"{demo}statistics", ".drops"),
    }[what]
    page.goto(place)
    page.wait_for_selector(loaded)
    if what in ("grid", "pair"):
        page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true; })")
    # One of a group of radio buttons, the tile that is chosen and the frame that is seen stand for all of theirs.
    wanted = page.evaluate(
        """() => { const root = document.querySelector('dialog[open]') || document; window.met = new Set();
        const all = [...root.querySelectorAll('button, input, select, a[href], summary, main')].filter(c => !c.disabled
          && c.checkVisibility({ visibilityProperty: true }) && c.tabIndex >= 0
          && !(c.type === 'radio' && !c.checked));
        document.addEventListener('focusin', e => window.met.add(e.target)); document.activeElement.blur();
        window.wanted = all; return all.length; }"""
    )
    assert wanted > 8
    for _ in range(wanted + 40):
        page.keyboard.press("Tab")
    missed = page.evaluate("() => window.wanted.filter(c => !window.met.has(c)).map(c => c.outerHTML.slice(0, 120))")
    assert missed == []


def test_works_under_a_path_of_a_proxy(page: Any, serve: Any, pairs_folder: Path) -> None:
    address = serve("pairs", "view", "demo", "--folder", pairs_folder, "--read-only", "--base-path", "/user/me/proxy")
    inside = f"{address}user/me/proxy/"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, f"{inside}#pair={CUP}&mask=1")
    page.wait_for_function("() => document.querySelector('.shade')?.naturalWidth > 0")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Statistics").click()
    page.locator(".drops a").first.click()
    page.wait_for_function("() => document.querySelector('.still img')?.naturalWidth > 0")
    page.get_by_role("link", name="its pairs").first.click()
    page.wait_for_function(NAMED)
    assert {url for url in asked if not url.startswith((inside, "data:"))} == set()


@pytest.fixture(scope="module")
def reviewed(serve_all: Any, pairs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a run that somebody has judged a part of."""
    from ovforge.files.review_file import change_review
    from ovforge.records.review import ReviewChange

    folder = tmp_path_factory.mktemp("reviewed") / "pairs"
    shutil.copytree(pairs_folder, folder)
    change_review(
        folder / "demo.review.json",
        [
            ReviewChange("000000900001_v0.jpg", "reject", add_tags=("dark",)),
            ReviewChange("000000900001_v1.jpg", "keep"),
            ReviewChange(CUP, "keep"),
        ],
    )
    return str(serve_all("pairs", "view", "demo", "--folder", folder))


@pytest.mark.parametrize("width", [390, 1440, 2560])
def test_axe_finds_nothing(chromium: Any, reviewed: str, clips: str, width: int) -> None:
    """Every page in light, then its contrast in dark: no other rule depends on the scheme. The widest only fits."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme="light", bypass_csp=True)
    page = context.new_page()
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    for place, loaded in (
        (f"{reviewed}#name=900001&scale_from=0.1", ".badge.reject"),
        (f"{reviewed}#pair={CUP}&mask=1&outlines=1", ".shade"),
        (f"{reviewed}#pair={CUP}&mode=slider", ".handle"),
        (f"{reviewed}statistics", ".drops"),
        (f"{reviewed}skipped?{SKIPPED}", ".still"),
        (f"{reviewed}nothing", "main"),
        (f"{clips}#name=0001", ".length"),
        (f"{clips}#pair=000000000001_v0_f001.jpg&frame=4&outlines=1", "#view-1 polygon"),
    ):
        page.goto("about:blank")
        page.emulate_media(color_scheme="light")
        page.goto(place)
        page.wait_for_selector(loaded)
        page.evaluate("() => document.getElementById('filters')?.setAttribute('open', '')")
        for scheme in ("light", "dark") if width < 2560 else ():
            page.emulate_media(color_scheme=scheme)
            options = {"runOnly": rules if scheme == "light" else ["color-contrast"], "resultTypes": ["violations"]}
            found = axe.Axe().run(page, options=options).response
            assert "color-contrast" in {one["id"] for one in found["passes"]}
            told = [(one["id"], [node["html"][:150] for node in one["nodes"][:3]]) for one in found["violations"]]
            assert told == [], (place, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        assert page.evaluate("(document.querySelector('dialog[open]') ?? document.body).scrollWidth") <= width, place
    context.close()

"""The pages of a run in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

CUP = "000000900002_v0.jpg"


def shown_names(page: Any) -> list[str]:
    page.wait_for_load_state("networkidle")
    page.wait_for_function("() => [...document.querySelectorAll('.tile')].every(t => t.dataset.name)")
    tiles = page.locator(".tile[data-name]")
    by_place = sorted((int(t["place"]), t["name"]) for t in tiles.evaluate_all("all => all.map(t => ({...t.dataset}))"))
    return [name for _, name in by_place]


def test_open_shows_pairs_with_both_images(page: Any, demo: str) -> None:
    page.goto(demo)
    page.wait_for_selector(".tile img")
    assert page.locator("#state").inner_text() == "32 pairs"
    assert shown_names(page)[:2] == ["000000900001_v0.jpg", "000000900001_v1.jpg"]
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img')].every(i => i.complete && i.naturalWidth > 100)"
    )


def test_filter_by_class_size_objects_and_name(page: Any, demo: str) -> None:
    page.goto(demo)
    page.get_by_label("Class", exact=True).fill("cup")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('8 pairs of 32')")
    page.get_by_label("Object size from, pixels").fill("300")
    page.wait_for_function("() => !document.getElementById('state').textContent.startsWith('8 pairs')")
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("() => document.getElementById('state').textContent === '32 pairs'")
    page.get_by_label("Number of objects to").fill("0")
    page.wait_for_function("() => document.getElementById('state').textContent.includes('of 32')")
    assert {name[:12] for name in shown_names(page)} == {"000000900005", "000000900013", "000000900016"}
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("rare").check(force=True)
    page.wait_for_function("() => document.getElementById('state').textContent.includes('of 32')")
    assert 0 < len(shown_names(page)) < 32
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("File name").fill("900014_V1")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('1 pair of')")
    assert shown_names(page) == ["000000900014_v1.jpg"]
    page.get_by_label("File name").fill("nothing is called so")
    page.wait_for_selector("text=No pair is like that.")


def test_sort_by_change_of_size(page: Any, demo: str) -> None:
    page.goto(demo)
    page.get_by_label("Sort").select_option("grown")
    page.wait_for_url("**sort=grown**")
    page.wait_for_load_state("networkidle")
    names = shown_names(page)
    found = page.evaluate("n => fetch('/api/pairs?sort=grown').then(a => a.json())", None)["items"]
    assert names == [item["name"] for item in found][: len(names)]
    known = [item["change"] for item in found if item["change"] is not None]
    assert known == sorted(known, reverse=True)
    assert [item["change"] for item in found][len(known) :] == [None] * (32 - len(known))


def test_boxes_sit_on_the_objects(page: Any, demo: str, pairs_folder: Path) -> None:
    page.goto(f"{demo}#pair={CUP}")
    page.wait_for_selector("#view-1 .box")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.image img')].every(i => i.complete && i.naturalWidth)"
    )
    written = msgspec.json.decode((pairs_folder / "annotations/demo.json").read_bytes())
    image = next(i for i in written["images"] if i["file_name"] == CUP)
    names = {c["id"]: c["name"] for c in written["categories"]}
    expected = {
        (names[a["category_id"]], str(a["track_id"])): a["bbox"]
        for a in written["annotations"]
        if a["image_id"] == image["id"]
    }
    assert len(expected) == 4
    drawn = page.evaluate(
        """() => { const img = document.querySelector('#view-1 img').getBoundingClientRect();
        const scale = img.width / document.querySelector('#view-1 img').naturalWidth;
        return [...document.querySelectorAll('#view-1 .box')].map(b => { const r = b.getBoundingClientRect();
          const label = document.querySelector(`#view-1 .label[data-track="${b.dataset.track}"]`);
          return [label.lastChild.textContent.trim(), b.dataset.track,
                  (r.left - img.left) / scale, (r.top - img.top) / scale,
                  r.width / scale, r.height / scale]; }); }"""
    )
    assert {(name, track) for name, track, *_ in drawn} == set(expected)
    for name, track, *box in drawn:
        assert box == pytest.approx(expected[name, track], abs=2)
    colours = page.evaluate(
        "() => [0, 1].map(s => Object.fromEntries([...document.querySelectorAll(`#view-${s} .box`)]"
        ".map(b => [b.dataset.track, getComputedStyle(b).borderTopColor])))"
    )
    assert colours[0] == colours[1]
    assert len(set(colours[1].values())) == 4


def test_pair_tells_caption_motion_seed_and_fidelity(page: Any, demo: str) -> None:
    page.goto(f"{demo}#pair={CUP}")
    facts = page.locator("#facts")
    facts.get_by_text("espresso in a red cup").wait_for()
    text = facts.inner_text()
    assert "affine, scale" in text
    assert "Seed\n\n1\n" in text
    assert "1.000" in text


def test_toggles_and_kept_mask(page: Any, demo: str) -> None:
    page.goto(f"{demo}#pair={CUP}")
    page.wait_for_selector("#view-1 .box")
    label = page.locator("#view-1 .label").first
    assert label.is_visible()
    page.keyboard.press("l")
    assert not label.is_visible()
    page.get_by_role("checkbox", name="Kept mask").check(force=True)
    page.wait_for_function("() => document.querySelector('.shade')?.naturalWidth > 0")
    assert "hide=labels" in page.url
    assert "mask=1" in page.url
    page.keyboard.press("b")
    assert set(page.locator("#stage").get_attribute("class").split()) == {"no-boxes", "no-labels"}


def test_keyboard_opens_moves_flips_and_closes(page: Any, demo: str) -> None:
    page.goto(demo)
    page.wait_for_selector(".tile[data-name]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#pair[open] #view-1 .box")
    assert page.locator("#pair-name").inner_text() == "000000900002_v0.jpg"
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.getElementById('pair-name').textContent === '000000900002_v1.jpg'")
    page.keyboard.press(" ")
    assert page.locator("#stage").get_attribute("data-mode") == "slider"
    before = page.locator("#divide").input_value()
    page.keyboard.press(" ")
    assert {before, page.locator("#divide").input_value()} == {"0", "100"}
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.getElementById('pair').open")
    assert page.evaluate("document.activeElement.dataset.name") == "000000900002_v1.jpg"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_slider_divides_the_images(page: Any, demo: str) -> None:
    page.goto(f"{demo}#pair={CUP}&mode=slider")
    page.wait_for_selector("#view-1 .handle")
    slider = page.get_by_role("slider")
    slider.fill("25")
    clip = "getComputedStyle(document.querySelector('#view-1 .image')).clipPath"
    assert page.evaluate(clip) == "inset(0px 0px 0px 25%)"
    box = page.locator("#view-1 .image").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60)
    page.mouse.up()
    assert float(slider.input_value()) == pytest.approx(75, abs=1)
    first, second = (page.locator(f"#view-{side} .image").bounding_box() for side in (0, 1))
    assert first == second


def test_link_shows_the_same_to_somebody_else(page: Any, demo: str, chromium: Any) -> None:
    page.goto(demo)
    page.get_by_label("Class", exact=True).fill("cup")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('8 pairs')")
    page.locator(".tile[data-name]").nth(1).click()
    page.wait_for_selector("#view-1 .box")
    page.get_by_role("radio", name="Slider").check(force=True)
    link = page.url
    name = page.locator("#pair-name").inner_text()
    other = chromium.new_context().new_page()
    other.goto(link)
    other.wait_for_selector("#view-1 .box")
    assert other.locator("#pair-name").inner_text() == name
    assert other.locator("#pair-place").inner_text() == "2 of 8"
    assert other.locator("#stage").get_attribute("data-mode") == "slider"
    other.context.close()


def test_going_back_closes_the_pair(page: Any, demo: str) -> None:
    page.goto(demo)
    page.locator(".tile[data-name]").first.click()
    page.wait_for_selector("#pair[open]")
    page.go_back()
    page.wait_for_function("() => !document.getElementById('pair').open")


def test_unknown_pair_is_told(page: Any, demo: str) -> None:
    page.goto(f"{demo}#pair=no_such_v0.jpg")
    assert "no pair 'no_such_v0.jpg'" in page.get_by_role("alert").inner_text()


def test_controls_have_names(page: Any, demo: str) -> None:
    page.goto(f"{demo}#pair={CUP}")
    page.wait_for_selector("#view-1 .box")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a')].filter(c => !(c.getAttribute('aria-label')
        || c.textContent.trim() || c.labels?.[0]?.textContent.trim())).map(c => c.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("img:not([alt])").count() == 0


def test_statistics_count_what_the_json_holds(page: Any, demo: str, pairs_folder: Path) -> None:
    page.goto(f"{demo}statistics")
    written = msgspec.json.decode((pairs_folder / "annotations/demo.json").read_bytes())
    second = {i["id"] for i in written["images"] if i["frame_id"] > 0}
    objects = sum(a["image_id"] in second for a in written["annotations"])
    text = page.locator("main").inner_text()
    assert f"objects in second views\n{objects}" in text
    assert "has no usable object: its second view is the image itself" in text
    page.get_by_role("link", name="cup").first.click()
    page.wait_for_function("() => document.getElementById('state')?.textContent.startsWith('8 pairs of 32')")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("cut json", "demo.json"),
        ("no hdf5", "demo.h5"),
        ("cut hdf5", "demo.h5"),
    ],
)
def test_broken_run_gets_a_clear_page(
    page: Any, serve: Any, pairs_folder: Path, tmp_path: Path, damage: str, told: str
) -> None:
    folder = tmp_path / "pairs"
    shutil.copytree(pairs_folder, folder)
    json, h5 = folder / "annotations/demo.json", folder / "demo.h5"
    if damage == "cut json":
        json.write_bytes(json.read_bytes()[:-2000])
    elif damage == "cut hdf5":
        h5.write_bytes(h5.read_bytes()[:5000])
    arguments = ["pairs", "view", "demo", "--folder", folder]
    if damage == "no hdf5":
        h5.unlink()
        arguments += ["--annotations", json]
    address = serve(*arguments)
    answer = page.goto(address)
    assert answer.status == 500
    text = page.locator("main").inner_text()
    assert "This cannot be shown" in text
    assert told in text
    assert "Traceback" not in page.content()
    assert 'File "' not in page.content()


def test_scrolls_to_the_end_of_a_long_list(page: Any, serve: Any, many_folder: Path) -> None:
    page.goto(serve("pairs", "view", "many", "--folder", many_folder))
    page.wait_for_selector(".tile[data-name]")
    page.keyboard.press("End")
    page.wait_for_selector(".tile[data-name='000000000999_v0.jpg']")
    assert page.evaluate("document.activeElement.dataset.place") == "999"
    assert page.locator(".tile").count() < 100
    page.evaluate("document.getElementById('grid').scrollTop = document.getElementById('grid').scrollHeight / 2")
    page.wait_for_selector(".tile[data-name='000000000500_v0.jpg']")
    page.wait_for_function("() => [...document.querySelectorAll('.tile')].every(t => t.dataset.name)")

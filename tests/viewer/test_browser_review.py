"""Keeping, rejecting and tagging pairs in a real browser, from grid and pair, also from two pages at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovforge.files.review_file import read_review
from ovforge.records.review import Review

CUP = "000000900002_v0.jpg"


@pytest.fixture
def demo(to_judge: str) -> str:
    return to_judge


def review(folder: Path) -> Review:
    return read_review(folder / "demo.review.json")


def said(page: Any, text: str, where: str = "said") -> None:
    page.wait_for_function("([id, text]) => document.getElementById(id).textContent.includes(text)", arg=[where, text])


def opened(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".tile[data-name]")


def test_keys_in_the_grid_judge_the_chosen_pair_and_undo(page: Any, demo: str, run_folder: Path) -> None:
    opened(page, demo)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    said(page, "1 pair rejected")
    assert review(run_folder).rejected == {CUP}
    assert page.locator(f".tile[data-name='{CUP}'] .badge").inner_text() == "rejected"
    page.keyboard.press("k")
    said(page, "1 pair kept")
    assert review(run_folder).pairs[CUP].verdict == "keep"
    page.keyboard.press("u")
    said(page, "1 pair undone")
    assert review(run_folder).rejected == {CUP}
    page.keyboard.press("Control+z")
    page.wait_for_function("() => document.getElementById('undo').disabled")
    said(page, "1 pair undone")
    page.wait_for_function("() => !document.querySelector('.badge')")
    assert review(run_folder).pairs == {}


def test_a_range_is_selected_with_shift(page: Any, demo: str, run_folder: Path) -> None:
    opened(page, demo)
    page.locator(".tile[data-place='3']").click(modifiers=["Shift"])
    assert "4 pairs selected" in page.locator("#review-state").inner_text()
    assert page.locator(".tile.chosen").count() == 4
    page.keyboard.press("Shift+ArrowRight")
    assert "5 pairs selected" in page.locator("#review-state").inner_text()
    page.get_by_role("button", name="Reject").first.click()
    said(page, "5 pairs rejected")
    names = page.locator(".tile").evaluate_all("all => all.map(t => [+t.dataset.place, t.dataset.name])")
    assert review(run_folder).rejected == {name for place, name in names if place < 5}
    page.keyboard.press("u")
    said(page, "5 pairs undone")
    assert review(run_folder).pairs == {}
    page.keyboard.press("Escape")
    assert page.locator(".tile.chosen").count() == 0


def test_tags_of_a_pair_are_written_and_taken_away(page: Any, demo: str, run_folder: Path) -> None:
    opened(page, f"{demo}#pair={CUP}")
    page.wait_for_selector("#view-1 .box")
    page.keyboard.press("t")
    page.get_by_label("Tags", exact=True).fill("dark, odd  colour")
    page.keyboard.press("Enter")
    said(page, "1 pair tagged", "pair-said")
    assert review(run_folder).pairs[CUP].tags == ("dark", "odd colour")
    assert page.locator("#pair-review").inner_text() == "dark · odd colour"
    page.get_by_role("button", name="Tag").last.click()
    page.get_by_label("Tags", exact=True).fill("odd colour")
    page.get_by_role("button", name="Save").click()
    page.wait_for_function("() => document.getElementById('pair-review').textContent === 'odd colour'")
    assert review(run_folder).pairs[CUP].tags == ("odd colour",)
    page.keyboard.press("Escape")
    page.locator("select[name=tag]").select_option("odd colour")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('1 pair of 32')")
    assert "tag=odd+colour" in page.url


def test_judging_within_a_filter_shows_the_next_pair(page: Any, demo: str, run_folder: Path) -> None:
    opened(page, f"{demo}#verdict=none&pair=000000900001_v0.jpg")
    page.wait_for_selector("#view-1 .box")
    for verdict, key, name in (
        ("keep", "k", "000000900001_v1.jpg"),
        ("reject", "r", CUP),
        ("keep", "k", "000000900002_v1.jpg"),
    ):
        page.keyboard.press(key)
        page.wait_for_function("name => document.getElementById('pair-name').textContent === name", arg=name)
        assert verdict in {entry.verdict for entry in review(run_folder).pairs.values()}
    assert page.locator("#pair-place").inner_text() == "1 of 29"
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('29 pairs of 32')")
    assert "2 kept · 1 rejected" in page.locator("#review-state").inner_text()


def test_two_pages_at_once_lose_nothing(page: Any, chromium: Any, demo: str, run_folder: Path) -> None:
    other = chromium.new_context().new_page()
    for one in (page, other):
        opened(one, f"{demo}#pair={CUP}")
        one.wait_for_selector("#view-1 .box")
    page.keyboard.press("r")
    other.keyboard.press("t")
    other.get_by_label("Tags", exact=True).fill("dark")
    other.keyboard.press("Enter")
    said(other, "tagged", "pair-said")
    said(page, "rejected", "pair-said")
    entry = review(run_folder).pairs[CUP]
    assert (entry.verdict, entry.tags) == ("reject", ("dark",))
    # The first page learns of the tag by itself.
    page.wait_for_function(
        "() => document.getElementById('pair-review').textContent === 'rejected · dark'", timeout=15000
    )
    # What the other page did since is not undone with it.
    page.keyboard.press("k")
    said(page, "kept", "pair-said")
    other.wait_for_function("() => document.getElementById('pair-review').textContent === 'kept · dark'", timeout=15000)
    other.keyboard.press("u")
    said(other, "left as they are", "pair-said")
    entry = review(run_folder).pairs[CUP]
    assert (entry.verdict, entry.tags) == ("keep", ("dark",))
    other.context.close()


def test_read_only_page_has_no_controls_and_says_so(page: Any, serve: Any, run_folder: Path) -> None:
    opened(page, serve("pairs", "view", "demo", "--folder", run_folder, "--read-only"))
    assert page.get_by_role("button", name="Reject").count() == 0
    page.keyboard.press("r")
    said(page, "This page is read-only")
    assert not (run_folder / "demo.review.json").exists()


def test_what_cannot_be_saved_is_said(page: Any, demo: str, run_folder: Path) -> None:
    opened(page, demo)
    (run_folder / "demo.review.json").write_text("{cut")
    page.keyboard.press("k")
    said(page, "Not saved: ")
    assert (run_folder / "demo.review.json").read_text() == "{cut"


def test_the_filter_is_exported_from_the_page(page: Any, demo: str, run_folder: Path, tmp_path: Path) -> None:
    opened(page, demo)
    page.get_by_label("Class", exact=True).fill("CUP")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('8 pairs')")
    page.keyboard.press("Tab")
    page.locator(".tile[data-place='1']").focus()
    page.keyboard.press("r")
    said(page, "rejected")
    page.get_by_text("Export this filter").click()
    with page.expect_download() as started:
        page.get_by_role("link", name="List of files").click()
    path = tmp_path / "list.txt"
    started.value.save_as(path)
    listed = path.read_text().split()
    rejected = review(run_folder).rejected
    assert (len(listed), len(rejected)) == (7, 1)
    assert not rejected & set(listed)
    with page.expect_download() as started:
        page.get_by_role("link", name="COCO").click()
    started.value.save_as(path)
    seconds = {image["file_name"] for image in msgspec.json.decode(path.read_bytes())["images"]} & set(listed)
    assert len(seconds) == 7
    with page.expect_download() as started:
        page.get_by_role("link", name="HTML").click()
    html = tmp_path / "some.html"
    started.value.save_as(html)
    page.goto(html.as_uri())
    page.wait_for_selector(".tile[data-name]")
    assert page.locator("#state").inner_text() == "7 pairs"
    assert page.get_by_role("button", name="Reject").count() == 0

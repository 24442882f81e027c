"""Clips in a real browser: one tile each, playing and scrubbing, boxes that follow, review, merged and unfinished."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ovforge.files.review_file import change_review, read_review
from ovforge.records.review import ReviewChange

FRAMES = 5
CLIP = "000000000001_v0_f001.jpg"
LOADED = (
    "() => { const all = [...document.querySelectorAll('.frame')]; "
    "return all.length === 5 && all.every(i => i.naturalWidth); }"
)


@pytest.fixture(scope="module")
def written(clips_folder: Path) -> dict[str, Any]:
    """What `pairs annotate` wrote."""
    content: dict[str, Any] = msgspec.json.decode((clips_folder / "annotations/clips.json").read_bytes())
    return content


def opened(page: Any, address: str) -> None:
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#player:not([hidden])")
    page.wait_for_function(LOADED)


def at(page: Any, frame: int) -> None:
    page.wait_for_function(
        "k => document.getElementById('frame-text').textContent === `frame ${k} / 4`", arg=frame, timeout=15000
    )


def frames_of(written: dict[str, Any], clip: str) -> list[dict[str, Any]]:
    stem = clip.removesuffix("_v0_f001.jpg")
    return [image for image in written["images"] if image["file_name"].startswith(stem)]


def test_one_tile_for_each_clip(page: Any, clips: str, written: dict[str, Any]) -> None:
    page.goto(clips)
    page.wait_for_selector(".tile[data-name]")
    count = len(written["videos"])
    assert page.locator("#state").inner_text() == f"{count} clips"
    assert page.locator(".tile[data-name]").count() == count
    tile = page.locator(f".tile[data-name='{CLIP}']")
    assert tile.locator(".length").inner_text() == "▶ 5 frames"
    assert tile.locator("b").inner_text() == "000000000001.jpg"
    assert tile.locator("img").count() == 2
    # Over the tile the pointer goes through the frames.
    place = tile.bounding_box()
    second = tile.locator("img").nth(1)
    before = second.get_attribute("src")
    seen = []
    for frame in range(FRAMES):
        page.mouse.move(place["x"] + place["width"] * (frame + 0.5) / FRAMES, place["y"] + 40)
        assert tile.locator(".length").inner_text() == f"frame {frame} / 4"
        seen.append(second.get_attribute("src"))
    assert len(set(seen)) == FRAMES
    assert seen[0] == tile.locator("img").nth(0).get_attribute("src")
    page.mouse.move(place["x"], place["y"] - 60)
    assert tile.locator(".length").inner_text() == "▶ 5 frames"
    assert second.get_attribute("src") == before
    page.get_by_label("File name").fill("0001")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('1 clip of')")


def test_an_own_data_set_has_nothing_of_lvis(page: Any, clips: str) -> None:
    for place in ("", f"#pair={CLIP}", "statistics"):
        page.goto("about:blank")
        page.goto(clips + place)
        page.wait_for_selector("#view-1 .box" if place.startswith("#") else ".tile[data-name], .statistics")
        text = page.locator("body").inner_text().lower()
        assert "clip" in text
        for word in ("frequen", "rare", "common", "caption", "lvis", "synset"):
            assert word not in text, (place, word)


def test_boxes_follow_by_track_with_one_colour_and_number(page: Any, clips: str, written: dict[str, Any]) -> None:
    opened(page, f"{clips}#pair={CLIP}")
    images = frames_of(written, CLIP)
    looks: dict[str, set[tuple[str, str]]] = {}
    for frame, image in enumerate(images):
        at(page, frame)
        drawn = page.evaluate(
            """() => { const image = document.querySelector('.frame.seen'), r = image.getBoundingClientRect();
            const scale = r.width / image.naturalWidth;
            return [...document.querySelectorAll('#view-1 .box')].map(b => { const q = b.getBoundingClientRect();
              const label = document.querySelector(`#view-1 .label[data-track="${b.dataset.track}"]`);
              return [b.dataset.track, label.firstChild.textContent, getComputedStyle(b).borderTopColor,
                [(q.left - r.left) / scale, (q.top - r.top) / scale, q.width / scale, q.height / scale]]; }); }"""
        )
        expected = {str(a["track_id"]): a["bbox"] for a in written["annotations"] if a["image_id"] == image["id"]}
        assert {track for track, *_ in drawn} == set(expected)
        for track, number, colour, box in drawn:
            assert box == pytest.approx(expected[track], abs=2)
            looks.setdefault(track, set()).add((number, colour))
        assert page.locator("#frame-fact").inner_text() == image["file_name"]
        labels = page.locator("#view-1 .label:not([hidden])").evaluate_all(
            "all => all.map(l => l.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
        )
        for a, b in itertools.combinations(labels, 2):
            assert a[0] >= b[2] - 0.6 or b[0] >= a[2] - 0.6 or a[1] >= b[3] - 0.6 or b[1] >= a[3] - 0.6
        page.keyboard.press("ArrowRight")
    assert all(len(seen) == 1 for seen in looks.values())
    assert len({next(iter(seen)) for seen in looks.values()}) == len(looks)


def test_table_says_what_is_seen_in_the_frame(page: Any, clips: str, written: dict[str, Any]) -> None:
    states = set()
    for video in written["videos"]:
        clip = f"{video['name']}_v0_f001.jpg"
        opened(page, f"{clips}#pair={clip}")
        for frame, image in enumerate(frames_of(written, clip)):
            page.locator("#strip button").nth(frame).click()
            at(page, frame)
            objects = {a["track_id"]: a for a in written["annotations"] if a["image_id"] == image["id"]}
            told = page.locator(".objects tbody tr").evaluate_all(
                "all => all.map(r => [+r.firstChild.title.split(' ')[1], r.lastChild.textContent])"
            )
            for track, text in told:
                found = objects.get(track)
                seen = round(float(np.float32(found.get("visibility", 1))), 3) if found else 0
                expected = "out of sight" if found is None else f"{math.floor(100 * seen + 0.5)} %"
                assert text.split(",")[0] == expected, (clip, frame)
                assert ("occluded" in text) == bool(found and found.get("occluded"))
                states.add("occluded" if "occluded" in text else "away" if found is None else "seen")
    assert states == {"seen", "occluded", "away"}


def test_plays_to_the_end_and_loops(page: Any, clips: str) -> None:
    opened(page, f"{clips}#pair={CLIP}&loop=0&speed=30")
    assert page.locator("#speed").input_value() == "30"
    page.keyboard.press("Space")
    at(page, FRAMES - 1)
    page.wait_for_function("() => document.getElementById('play').textContent === 'Play'")
    assert "frame=4" in page.url
    page.evaluate(
        "() => { window.seen = []; new MutationObserver(() => window.seen.push(document.getElementById('frame-text')"
        ".textContent)).observe(document.getElementById('frame-text'), { childList: true }); }"
    )
    page.get_by_label("Loop").check()
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => window.seen.filter(t => t === 'frame 0 / 4').length >= 2", timeout=15000)
    page.get_by_role("button", name="Pause", exact=True).click()
    seen = page.evaluate("window.seen.map(t => +t.split(' ')[1])")
    assert all((b - a) % FRAMES == 1 for a, b in itertools.pairwise(seen) if a != b)
    assert page.locator("#play").inner_text() == "Play"


def test_scrubs_with_bar_strip_and_keys(page: Any, clips: str, chromium: Any) -> None:
    opened(page, f"{clips}#pair={CLIP}")
    scrub = page.get_by_role("slider", name="Frame")
    scrub.fill("2")
    at(page, 2)
    scrub.press("ArrowRight")
    at(page, 3)
    scrub.press("Space")  # the bar has no use for it
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator("#strip button").nth(1).click()
    at(page, 1)
    assert page.locator("#strip [aria-current=true]").count() == 1
    page.keyboard.press("End")
    at(page, FRAMES - 1)
    assert page.get_by_role("button", name="Next frame").is_disabled()
    page.keyboard.press("ArrowLeft")
    at(page, FRAMES - 2)
    page.keyboard.press("o")
    page.wait_for_selector("#view-1 polygon")
    page.get_by_label("Speed").select_option("8")
    link = page.url
    assert {"frame=3", "speed=8", "outlines=1"} <= set(link.split("#")[1].split("&"))
    other = chromium.new_context().new_page()
    opened(other, link)
    at(other, 3)
    assert other.locator("#view-1 polygon").first.is_visible()
    assert other.locator("#speed").input_value() == "8"
    other.context.close()


def test_keys_go_to_the_next_clip_and_back(page: Any, clips: str, written: dict[str, Any]) -> None:
    page.goto(clips)
    page.wait_for_selector(".tile[data-name]")
    page.keyboard.press("Enter")
    page.wait_for_function(LOADED)
    first, second = (f"{video['name']}.jpg" for video in written["videos"][:2])
    assert page.locator("#pair-name").inner_text() == first
    page.keyboard.press("ArrowRight")
    at(page, 1)
    page.keyboard.press("PageDown")
    page.wait_for_function("name => document.getElementById('pair-name').textContent === name", arg=second)
    at(page, 0)
    assert page.locator("#pair-place").inner_text() == f"2 of {len(written['videos'])}"
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.getElementById('pair').open")
    assert "frame" not in page.url


def test_a_filter_of_frames_opens_the_frame(page: Any, clips: str, written: dict[str, Any]) -> None:
    """The least visible object: the clip is opened where it is."""
    after = {image["id"]: image for image in written["images"] if image["frame_id"]}
    seen = [a for a in written["annotations"] if a["image_id"] in after and not a["iscrowd"]]
    worst = min(seen, key=lambda a: a["visibility"])
    image = after[worst["image_id"]]
    page.goto(f"{clips}#sort=visibility")
    page.wait_for_selector(".tile[data-name]")
    page.keyboard.press("Enter")
    page.wait_for_function(LOADED)
    at(page, image["frame_id"])
    assert page.locator("#frame-fact").inner_text() == image["file_name"]
    page.keyboard.press("Escape")
    page.get_by_text("Scores", exact=True).click()
    page.get_by_label("Visibility to").fill(str(worst["visibility"] + 1e-6))
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('1 clip of')")
    assert page.locator("#scores summary").inner_text() == "Scores (1)"


def test_a_clip_is_judged_as_a_whole(page: Any, serve: Any, clips_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(clips_folder, folder)
    path = folder / "clips.review.json"
    # Somebody has rejected a frame by hand: that is the clip's verdict, and taking it back clears it.
    change_review(path, [ReviewChange("000000000001_v0_f003.jpg", "reject", add_tags=("odd",))])
    address = serve("pairs", "view", "clips", "--folder", folder)
    page.goto(address)
    page.wait_for_selector(f".tile[data-name='{CLIP}'] .badge.reject")
    assert "1 rejected" in page.locator("#review-state").inner_text()
    opened(page, f"{address}#pair={CLIP}&frame=2")
    assert page.locator("#pair-review").inner_text() == "rejected · odd"
    page.keyboard.press("r")
    page.wait_for_function("() => document.getElementById('pair-review').textContent === 'odd'")
    entries = {name: (one.verdict, one.tags) for name, one in read_review(path).pairs.items()}
    assert entries == {CLIP: ("", ("odd",))}
    page.keyboard.press("u")
    page.wait_for_function("() => document.getElementById('pair-review').textContent === 'rejected · odd'")
    page.keyboard.press("k")
    page.wait_for_function("() => document.getElementById('pair-review').textContent === 'kept · odd'")
    assert {name: one.verdict for name, one in read_review(path).pairs.items()} == {CLIP: "keep"}
    # What is exported of a filter: a frame of each clip for `pairs export --only`, all frames as COCO.
    page.keyboard.press("PageDown")
    page.wait_for_function("() => document.getElementById('pair-name').textContent === '000000000002.jpg'")
    page.keyboard.press("r")
    page.wait_for_function("() => document.getElementById('pair-review').textContent === 'rejected'")
    listed = page.evaluate("() => fetch('export/list.txt').then(a => a.text())").split()
    assert [name[:12] for name in listed] == ["000000000001", "000000000003"]
    images = page.evaluate("() => fetch('export/coco.json').then(a => a.json())")["images"]
    assert len(images) == 2 * FRAMES
    assert not [image for image in images if image["file_name"].startswith("000000000002")]


def test_an_unfinished_run_says_why_an_object_is_not_seen(
    page: Any, serve: Any, clips_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(clips_folder / "clips", tmp_path / "clips")
    address = serve("pairs", "view", "clips", "--folder", tmp_path)
    page.goto(address)
    page.wait_for_selector(".tile[data-name]")
    names = page.locator(".tile[data-name]").evaluate_all("all => all.map(t => t.dataset.name)")
    told = set()
    for name in names:
        opened(page, f"{address}#pair={name}&outlines=1")
        page.wait_for_selector("#view-1 polygon")  # of the image itself, by the annotation file
        for frame in range(FRAMES):
            at(page, frame)
            told |= set(page.locator(".objects tbody td:last-child").all_inner_texts())
            page.keyboard.press("ArrowRight")
        assert page.locator("#view-1 polygon").count()
    assert {"covered", "outside"} <= told
    assert "out of sight" not in told


def test_the_exported_file_plays(page: Any, clips_folder: Path, tmp_path: Path) -> None:
    from ovforge.options.viewer import PairsExportOptions, PairsViewOptions
    from ovforge.viewer.export import export_pairs

    out = tmp_path / "clips.html"
    made = export_pairs(PairsViewOptions("clips", clips_folder), PairsExportOptions(out, count=2))
    assert made.counts["pairs"] == 2
    page.goto(out.as_uri())
    page.wait_for_selector(".tile[data-name]")
    assert page.locator("#state").inner_text() == "2 clips"
    page.keyboard.press("Enter")
    page.wait_for_function(LOADED)
    page.keyboard.press("End")
    at(page, FRAMES - 1)
    page.keyboard.press("o")
    page.wait_for_selector("#view-1 polygon")

"""Scores of objects in filters, orders, the pair page and the statistics; and what a run skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovforge.records.scores import SCORES
from ovforge.viewer.query import WORST

CUP = "000000900002_v0.jpg"
MEASURED = tuple(name for name in SCORES if name != "margin")
"""Of `margin` nothing was measured: it is nowhere asked for."""


class Scored:
    """The run `demo` with scores as `pairs annotate` writes them."""

    def __init__(self, folder: Path) -> None:
        path = folder / "annotations/demo.json"
        self.content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        images = {image["id"]: image for image in self.content["images"] if image["frame_id"]}
        seconds = [one for one in self.content["annotations"] if one["image_id"] in images]
        self.names = {number: image["file_name"] for number, image in images.items()}
        for place, one in enumerate(seconds):
            for number, name in enumerate(MEASURED):
                one[name] = round((place * (7 + 3 * number) % 101) / 80, 3)
        for place, image in enumerate(images.values()):
            box = [10, 20, 30.5, 40]
            image["extra"] = [{"category_id": seconds[0]["category_id"], "bbox": box, "score": 0.61}] * (place % 3)
        self.objects = [one for one in seconds if not one["iscrowd"]] if "iscrowd" in seconds[0] else seconds
        self.images = images
        path.write_bytes(msgspec.json.encode(self.content))

    def with_any(self, name: str, low: float, high: float) -> set[str]:
        """The second views that have an object whose score is in between."""
        return {self.names[one["image_id"]] for one in self.objects if low <= one[name] <= high}


@pytest.fixture(scope="module")
def scored(pairs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Scored]]:
    folder = tmp_path_factory.mktemp("scored") / "pairs"
    shutil.copytree(pairs_folder, folder)
    yield folder, Scored(folder)


@pytest.fixture(scope="module")
def address(serve_all: Any, scored: tuple[Path, Scored]) -> str:
    return str(serve_all("pairs", "view", "demo", "--folder", scored[0]))


def ask(page: Any, address: str, query: str) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(
        "address => fetch(address).then(a => a.json())", f"{address}api/pairs?limit=120&{query}"
    )
    return found


def test_scores_filter_and_order_the_grid(page: Any, address: str, scored: tuple[Path, Scored]) -> None:
    run = scored[1]
    page.goto(address)
    page.wait_for_selector(".tile[data-name]")
    page.get_by_text("Scores", exact=True).click()
    page.get_by_label("Sharpness to").fill("0.2")
    expected = run.with_any("sharpness", -1, 0.2)
    page.wait_for_function(
        "text => document.getElementById('state').textContent.startsWith(text)", arg=f"{len(expected)} pairs of 32"
    )
    assert "sharpness_to=0.2" in page.url
    assert page.locator("#scores summary").inner_text() == "Scores (1)"
    page.reload()
    page.wait_for_function("() => document.getElementById('state').textContent.includes(' of 32')")
    assert page.locator("input[name=sharpness_to]").input_value() == "0.2"
    for name in MEASURED:
        found = {item["name"] for item in ask(page, address, f"{name}_from=0.3&{name}_to=0.7")["items"]}
        assert found == run.with_any(name, 0.3, 0.7), name
    # Both limits are of one object: the run has pairs where one object fulfils the first and another the second.
    both = {run.names[one["image_id"]] for one in run.objects if one["sharpness"] <= 0.4 and one["colour"] >= 0.8}
    found = {item["name"] for item in ask(page, address, "sharpness_to=0.4&colour_from=0.8")["items"]}
    assert found == both != run.with_any("sharpness", -1, 0.4) & run.with_any("colour", 0.8, 2)
    extra = {image["file_name"] for image in run.images.values() if len(image["extra"]) == 2}
    assert {item["name"] for item in ask(page, address, "extra_from=2")["items"]} == extra
    orders = page.locator("select[name=sort] option").evaluate_all("all => all.map(o => o.value)")
    assert {key for key in WORST if key.lstrip("-") in (*MEASURED, "extra")} < set(orders)
    assert "margin" not in orders
    assert page.locator("input[name=margin_from]").count() == 0
    for sort in orders:
        name = sort.lstrip("-")
        if name not in MEASURED:
            continue
        sign = -1 if sort.startswith("-") else 1
        values = [
            min((sign * one[name] for one in run.objects if run.names[one["image_id"]] == item["name"]), default=9)
            for item in ask(page, address, f"sort={sort}")["items"]
        ]
        assert values == sorted(values), sort


def test_pair_page_has_each_objects_scores_and_what_was_found_besides(
    page: Any, address: str, scored: tuple[Path, Scored]
) -> None:
    run = scored[1]
    image = next(image for image in run.images.values() if len(image["extra"]) == 2 and image["id"] in run.names)
    name = image["file_name"]
    page.goto(f"{address}#pair={name}")
    page.wait_for_selector("#view-1 .box")
    told = page.locator("dl.measures").evaluate_all(
        "all => all.map(l => [l.closest('tr').previousSibling.firstChild.title.split(' ')[1], "
        "Object.fromEntries([...l.children].map(d => [d.firstChild.textContent, d.lastChild.textContent]))])"
    )
    expected = {str(one["track_id"]): one for one in run.objects if one["image_id"] == image["id"]}
    assert {track for track, _ in told} == set(expected)
    for track, scores in told:
        assert {"visibility", *MEASURED} == set(scores)
        for key in MEASURED:
            assert float(scores[key]) == pytest.approx(expected[track][key], abs=0.006)
    assert page.locator("#view-1 .box.extra").count() == 2
    assert page.locator("#view-0 .box.extra").count() == 0
    assert "score 0.61" in page.locator("#facts").inner_text()


def test_every_bar_of_a_score_opens_its_pairs(page: Any, address: str, scored: tuple[Path, Scored]) -> None:
    page.goto(f"{address}statistics")
    for name in MEASURED:
        chart = page.locator(".chart", has=page.get_by_role("heading", name=name.capitalize(), exact=True))
        bars = chart.locator(".plot a").evaluate_all(
            "all => all.map(a => [a.href.baseVal, a.getAttribute('aria-label')])"
        )
        assert sum(int(label.rpartition(": ")[2].replace(",", "")) for _, label in bars) == len(scored[1].objects)
        for href, label in bars:
            assert ask(page, address, href.split("#")[1])["total"] > 0, label
    assert page.get_by_role("heading", name="Margin", exact=True).count() == 0
    page.locator(".chart", has=page.get_by_role("heading", name="Extra objects")).locator(".plot a").last.click()
    page.wait_for_function("() => document.getElementById('state')?.textContent.includes(' of 32')")
    assert "extra_from=2" in page.url


def test_without_scores_nothing_is_asked_for(page: Any, demo: str) -> None:
    page.goto(demo)
    page.wait_for_selector(".tile[data-name]")
    names = page.locator("#query [name]").evaluate_all("all => all.map(f => f.name)")
    assert not {f"{name}_from" for name in (*SCORES, "extra")} & set(names)
    orders = page.locator("select[name=sort] option").evaluate_all("all => all.map(o => o.value)")
    assert set(orders) <= {"", "shrunk", "grown", "fidelity", "-fidelity", "-objects", "visibility"}


def test_every_skipped_thing_is_listed_with_its_image(page: Any, demo: str) -> None:
    page.goto(f"{demo}statistics")
    reason = "has no usable object: its second view is the image itself"
    row = page.locator(".drops tr", has_text=reason)
    count = int(row.locator(".n").inner_text())
    row.get_by_role("link").click()
    page.wait_for_selector(".skipped li")
    assert page.get_by_role("heading", level=2).inner_text() == f"Image: {reason}"
    assert page.locator(".skipped li").count() == count > 0
    page.wait_for_function("() => [...document.querySelectorAll('.still img')].every(i => i.naturalWidth > 50)")
    name = page.locator(".skipped li p.path").first.inner_text()
    page.get_by_role("link", name="its pairs").first.click()
    page.wait_for_selector(".tile[data-name]")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('2 pairs of 32')")
    assert name.removesuffix(".jpg") in page.locator(".tile b").first.inner_text()
    assert page.goto(f"{demo}skipped?kind=image&reason=nothing").status == 400


def test_a_skipped_annotation_is_shown_in_its_image(page: Any, serve: Any, sample_root: Path, tmp_path: Path) -> None:
    from ovforge.options.pairs import GenerateOptions
    from ovforge.runs.executors.in_process import InProcessExecutor
    from ovforge.synthesis.generate import generate_pairs
    from ovforge.synthesis.warp import WarpEngine

    source = sample_root / "data/lvis/annotations/lvis_v1_train.json"
    content = msgspec.json.decode(source.read_bytes())
    broken = content["annotations"][0]
    image = next(one for one in content["images"] if one["id"] == broken["image_id"])
    broken["segmentation"] = []
    content["images"] = [
        image,
        {**content["images"][-1], "id": 7, "coco_url": "http://x/gone.jpg", "file_name": "gone.jpg"},
    ]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] == image["id"]]
    (tmp_path / "own.json").write_bytes(msgspec.json.encode(content))
    options = GenerateOptions(
        "own", out=tmp_path, images=sample_root / "data/lvis/train2017", annotations=tmp_path / "own.json",
        no_captions=True,
    )  # fmt: skip
    generate_pairs(options, WarpEngine(), InProcessExecutor())
    address = serve("pairs", "view", "own", "--folder", tmp_path)
    page.goto(f"{address}statistics")
    rows = {row.locator("td").first.inner_text(): row for row in page.locator(".drops tbody tr, .drops > tr").all()}
    rows["annotation"].get_by_role("link").click()
    page.wait_for_function("() => [...document.querySelectorAll('.still img')].some(i => i.naturalWidth > 50)")
    box = page.locator(".still rect").first
    drawn = [float(box.get_attribute(side)) for side in ("x", "y", "width", "height")]
    assert drawn == pytest.approx(broken["bbox"], abs=0.06)
    assert f"annotation {broken['id']}" in page.locator(".skipped li").first.inner_text()
    page.go_back()
    rows = {row.locator("td").first.inner_text(): row for row in page.locator(".drops tbody tr, .drops > tr").all()}
    rows["image"].get_by_role("link").click()
    page.wait_for_selector(".skipped li")
    assert "gone.jpg" in page.locator(".skipped li").inner_text()

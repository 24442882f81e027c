"""One self-contained HTML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ovforge.errors import InputError, OutputExistsError
from ovforge.options.viewer import PairsExportOptions, PairsViewOptions
from ovforge.viewer.export import export_pairs


def options(folder: Path, out: Path, **more: Any) -> tuple[PairsViewOptions, PairsExportOptions]:
    return PairsViewOptions("demo", folder), PairsExportOptions(out, **more)


def test_same_seed_same_file_and_nothing_from_elsewhere(pairs_folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert export_pairs(*options(pairs_folder, tmp_path / name, count=5, seed=seed)).counts["pairs"] == 5
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    html = (tmp_path / "a").read_text()
    assert re.findall(r"(?:src|href)=\"(?!data:|/|#)[^\"]*", html) == []
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", html)


def test_more_than_there_are(pairs_folder: Path, tmp_path: Path) -> None:
    assert export_pairs(*options(pairs_folder, tmp_path / "a.html", count=500)).counts["pairs"] == 32


def test_refuses_to_replace_and_unknown_pairs(pairs_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    out.write_text("mine")
    with pytest.raises(OutputExistsError):
        export_pairs(*options(pairs_folder, out))
    with pytest.raises(InputError, match=r"no pair nothing_v0\.jpg"):
        export_pairs(*options(pairs_folder, tmp_path / "b.html", pair=("nothing_v0.jpg",)))
    assert out.read_text() == "mine"
    assert not (tmp_path / "b.html").exists()


def test_opens_in_a_browser_without_a_server(page: Any, pairs_folder: Path, tmp_path: Path) -> None:
    chosen = ("000000900002_v0.jpg", "000000900001_v0.jpg", "000000900005_v0.jpg")
    out = tmp_path / "three pairs.html"
    export_pairs(*options(pairs_folder, out, pair=chosen))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(out.as_uri())
    page.wait_for_selector(".tile[data-name]")
    names = page.locator(".tile").evaluate_all("all => all.map(t => t.dataset.name)")
    assert names == list(chosen)
    page.wait_for_function("() => [...document.querySelectorAll('.tile img')].every(i => i.naturalWidth > 0)")
    page.get_by_label("Class", exact=True).fill("cup")
    page.wait_for_function("() => document.getElementById('state').textContent === '1 pair of 3'")
    page.locator(".tile[data-name]").click()
    page.wait_for_selector("#view-1 .box")
    page.keyboard.press("m")
    page.wait_for_function("() => document.querySelector('.shade')?.naturalWidth > 0")
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("() => document.getElementById('state').textContent === '3 pairs'")
    assert {url for url in asked if not url.startswith("data:")} == {out.as_uri()}

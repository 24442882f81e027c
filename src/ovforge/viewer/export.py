"""`pairs view --export`: some pairs in one HTML file that needs nothing else, to be sent to somebody."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from ovforge.errors import ImageError, InputError, WorkError
from ovforge.files.atomic import check_output, write_bytes
from ovforge.options.viewer import PairsExportOptions, PairsViewOptions
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.viewer import describe
from ovforge.viewer.images import as_shown, shade_png
from ovforge.viewer.source import PairSource
from ovforge.viewer.step import open_pairs, require_viewer


def export_pairs(
    view: PairsViewOptions, options: PairsExportOptions, *, progress: Progress = no_progress
) -> StepSummary:
    """Write pairs of the run `view` into one HTML file: as chosen, or drawn; the same seed draws the same.

    Raises:
        ValueError: `options` name no file.
        MissingExtraError: the extra `viewer` is not installed.
        MissingInputError, InputError: there is no such run, it is damaged, or it has not the pairs that were chosen.
        OutputExistsError: the file is there and `overwrite` is false.
    """
    if options.export is None:
        raise ValueError("no file to write")
    require_viewer("pairs view --export")
    check_output(options.export, overwrite=options.overwrite)
    source = open_pairs(view, progress=progress)
    drops = Drops()
    try:
        html, count = html_of(source, _chosen(source, view.name, options), drops, progress)
    finally:
        source.close()
    write_bytes(options.export, html.encode(), overwrite=options.overwrite)
    return StepSummary(
        "pairs view",
        outputs={"page": str(options.export)},
        counts={"pairs": count, "bytes": len(html)},
        drops=drops.freeze(),
    )


def html_of(source: PairSource, numbers: list[int], drops: Drops, progress: Progress) -> tuple[str, int]:
    """These pairs as one HTML file, and how many of them it has: those whose images cannot be read are counted.

    Raises:
        WorkError: none of them could be read.
    """
    from ovforge.viewer.pages import SCRIPTS, asset, render
    from ovforge.viewer.pairs_app import measured, page_of

    arrays = source.snapshot().arrays
    pairs: list[dict[str, Any]] = []
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for done, number in enumerate(numbers):
        progress("pairs", done, len(numbers))
        details = source.details(number)
        pair = describe.pair(source, arrays, number)
        try:
            for view in pair["views"]:
                if view["name"] not in images:
                    content = source.image(view["row"])
                    images[view["name"]] = _data_url(*as_shown(content, view["name"], (view["width"], view["height"])))
            if details.keep_mask is not None and pair["mask"]:
                masks[pair["name"]] = _data_url(shade_png(details.keep_mask, pair["name"]), "image/png")
        except ImageError as error:
            drops.add("pair", f"has an image that {error.reason}", error.place.path, place=error.detail)
            continue
        pairs.append(pair)
    if not pairs:
        raise WorkError(f"{source.name}: none of {len(numbers)} pairs could be read")
    used = {entry["class"] for pair in pairs for view in pair["views"][1:] for entry in view["objects"]}
    classes = [entry for entry in describe.classes(arrays) if entry["name"] in used]
    data = {
        "name": source.name,
        "file": True,
        "clips": arrays.has_clips,
        "measured": measured(arrays),
        "total": len(pairs),
        "generation": "",
        "items": [],
        "classes": classes,
        "state": None,
        "pairs": pairs,
        "images": images,
        "masks": masks,
        "review": None,
    }
    page = render(
        "export.html",
        name=source.name,
        **page_of(arrays),
        data=data,
        style=asset("style.css"),
        script="\n".join(map(asset, SCRIPTS)),
    )
    return page, len(pairs)


def _chosen(source: PairSource, name: str, options: PairsExportOptions) -> list[int]:
    arrays = source.snapshot().arrays
    if not len(arrays):
        raise InputError(f"{name}: has no pair yet")
    if not options.pair:
        rng = np.random.Generator(np.random.Philox(options.seed))
        count = min(options.count, len(arrays.firsts))
        drawn = sorted(rng.choice(arrays.firsts, count, replace=False).tolist())
        return [arrays.frames_of(number)[-1] for number in drawn]
    found = {chosen: arrays.find(chosen) for chosen in dict.fromkeys(options.pair)}
    missing = [chosen for chosen, number in found.items() if number is None]
    if missing:
        raise InputError(
            f"{name}: has no pair {', '.join(missing[:5])}",
            hint="give the file names of second views, as 000000000139_v0.jpg",
        )
    chosen = dict.fromkeys(int(arrays.first_of[number]) for number in found.values() if number is not None)
    return [arrays.frames_of(number)[-1] for number in chosen]  # a clip's tile shows its last frame beside the image


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

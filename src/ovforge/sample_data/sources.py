"""`SOURCES.md` of the sample data set: which photograph comes from where, its licence, and what was done to it."""

from __future__ import annotations

from ovforge.sample_data.geometry import Tile
from ovforge.sample_data.images import IMAGES
from ovforge.sample_data.photographs import PHOTOGRAPHS

SOURCES_FILE = "SOURCES.md"

_HEAD = """\
# Sample data of ovforge: sources and licences

Six photographs that come with scikit-image, and polygons, boxes, classes and sentences made for ovforge. A data set
to try the tools with, not to train or to compare with.

## Photographs

| file in scikit-image | shows | from | licence | address |
|---|---|---|---|---|
"""

_MIDDLE = """
The licences are those that scikit-image's documentation states. They free the photographs for any use; the rights of
the persons shown on two of them are another matter. `license` in the annotation files names the licence of an image's
photograph, on a sheet that of the first.

## Images

The images of LVIS and COCO are views of the photographs: cut, scaled and mirrored as the table says. The images of
train and val are different ones, but show the same photographs: nothing can be measured with them.

| image | split | size | photograph and crop (x, y, width, height) |
|---|---|---|---|
"""

_TAIL = """
The folders of ImageNet and Visual Genome hold further cuts of the same photographs. They hold nothing of ImageNet,
Visual Genome, COCO or LVIS but the form: names of classes, ids, file names and the shape of the records. The addresses
in `coco_url`, `url` and `image_url` have the form that readers of these data sets expect; nothing is to be found there.

## Outlines, boxes, classes, sentences

Drawn and written for ovforge, under its licence. Outlines were drawn by eye on the photographs and move along with
every cut. What one may want to know of them:

- The Space Shuttle is a model on a stand; it is labelled `space_shuttle` all the same.
- `lightning_rod` are the masts on the lightning towers of the launch pad.
- On the sheet of sixteen cats LVIS outlines six and lists the class under `not_exhaustive_category_ids`; COCO outlines
  eight and has one crowd region over the rest. On image 900009 LVIS leaves out the spoon, and says so.
- COCO calls the wooden table a dining table and the wall clock a clock, having no finer classes; LVIS lists
  `dining_table` as absent on these images.
"""


def sources_text() -> str:
    """The whole file."""
    photographs = "".join(
        f"| {row.file} | {row.shows} | {row.source} | {row.license.name} | {row.url or '-'} |\n"
        for row in PHOTOGRAPHS.values()
    )
    images = "".join(
        f"| {row.file_name} | {row.split} | {row.size[0]} x {row.size[1]} | {_views(row.tiles)} |\n" for row in IMAGES
    )
    return _HEAD + photographs + _MIDDLE + images + _TAIL


def _views(tiles: tuple[Tile, ...]) -> str:
    views = [f"{tile.photograph} {tile.crop}{', mirrored' if tile.mirror else ''}" for tile in tiles]
    if len(views) > 4:
        return f"{len(views)} prints: {views[0]} and mirrored"
    return "; ".join(views)

#!/usr/bin/env python3
"""Draw `docs/images/holes.jpg`: what `--repaint holes` gives to an engine, on the packaged photographs; needs no model.

python tools/draw_holes.py [OUT.jpg]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from ovforge.image_io.codec import encode_jpeg
from ovforge.options.labels import Labels, Outside, Repaint
from ovforge.options.sample_data import SampleDataOptions
from ovforge.sample_data import sample_data
from ovforge.synthesis.compose import resized
from ovforge.synthesis.image_table import read_images
from ovforge.synthesis.pairs import PairSettings, Planned, prepare
from ovforge.synthesis.repaint import WorkingSize

OUT = Path(__file__).resolve().parents[1] / "docs/images/holes.jpg"
SEED, SHOWN = 6, ("000000900002.jpg", "000000900004.jpg", "000000900013.jpg")
TILE = (300, 225)
GAP = 6
FRAME = np.array((255, 140, 0), np.uint8)


def row(planned: Planned) -> np.ndarray:
    """One photograph: moved, completed, with its crops framed."""
    completed = planned.composed.image
    hole = planned.composed.masks.inside() == 0
    shaded = completed.copy()
    shaded[hole] = (70, 70, 70)
    framed = completed.copy()
    for crop in planned.holes.crops if planned.holes is not None else ():
        x, y, width, height = crop.box
        thick = max(2, max(completed.shape) // 150)
        cv2.rectangle(framed, (x, y), (x + width - 1, y + height - 1), FRAME.tolist(), thick)
    return np.concatenate(
        [
            np.pad(resized(image, TILE), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
            for image in (shaded, completed, framed)
        ],
        axis=1,
    )


def main() -> int:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT.jpg", type=Path, nargs="?", default=OUT)
    out = parser.parse_args().out
    settings = PairSettings(SEED, outside=Outside.COMPLETED, labels=Labels.ALL, repaint=Repaint.HOLES, min_area=0)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "sample"
        sample_data(SampleDataOptions(folder=root))
        table = read_images(root / "datasets/lvis/lvis_v1_train.json", None, variants=1)
        rows = []
        for name in SHOWN:
            source = table.image(table.names.index(name))
            data = (root / "datasets/coco/train2017" / name).read_bytes()
            planned = prepare(source, data, settings, WorkingSize()).planned
            rows += [row(one) for one in planned if isinstance(one, Planned)]
        table.close()
    out.write_bytes(encode_jpeg(np.concatenate(rows)[:-GAP, :-GAP], 85))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast `pairs merge` is, checks included, against `cat` over the same bytes.

    python benchmarks/bench_merge.py --images 100000 --variants 2 --mean-kb 50 --folder /tmp/bench

Makes a run of made-up images (random bytes of log-normal sizes) with records, pickle files and hashes, as
`pairs generate` leaves it, and measures in turns `cat partitions > file` (followed by `sync`, timed apart, because
`pairs merge` flushes what it publishes) and the merge in a process of its own. Needs twice the data's room on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import msgspec
import numpy as np

from ovforge.files.range_copy import write_at
from ovforge.files.restricted_pickle import ListWriter
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.records.pairs import VariantRecord
from ovforge.records.run_layout import partition_files, variant_name
from ovforge.runs.plan import Plan, freeze, input_file
from ovforge.synthesis.pair_file import About, PairFileWriter, PublishedPair, StoredImage
from ovforge.synthesis.partitions import partition_sizes

NAME = "bench"
PARTITIONS = 8
OBJECTS = 4  # of a second view; LVIS has about four objects above 64 x 64 pixels in an image
_POOL = 256 << 20


def make_run(folder: Path, image_count: int, variants: int, mean_bytes: int) -> None:
    """Write a run's partitions with everything that `pairs merge` checks."""
    annotations = folder / "annotations.json"
    images = [
        {"id": n, "width": 640, "height": 480, "file_name": f"{n:012d}.jpg", "license": 1}
        for n in range(1, image_count + 1)
    ]
    folder.mkdir(parents=True)
    annotations.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    sizes = partition_sizes(image_count, PARTITIONS)
    run = folder / NAME
    run.mkdir()
    plan = Plan(
        task="pairs",
        items=image_count,
        shard_size=64,
        groups=sizes,
        options={"variants": variants},
        inputs={"annotations": input_file(annotations)},
    )
    freeze(plan, run)
    rng = np.random.default_rng(0)
    pool = rng.bytes(_POOL)
    first = 1
    for index, size in enumerate(sizes):
        make_partition(
            run, index, range(first, first + size), variants=variants, mean_bytes=mean_bytes, pool=pool, rng=rng
        )
        first += size


def make_partition(
    run: Path, index: int, ids: range, *, variants: int, mean_bytes: int, pool: bytes, rng: np.random.Generator
) -> None:
    files = partition_files(run, index, PARTITIONS)
    count = len(ids) * variants
    with open(files.pkl, "wb") as pkl, open(files.pairs, "wb") as pairs:
        entries, records = ListWriter(pkl), PairFileWriter(pairs)
        with ImageWriter(files.h5) as writer:
            for image_id in ids:
                name = f"{image_id:012d}.jpg"
                views = [variant_name(name, r) for r in range(variants)]
                stored = []
                for image in (name, *views):
                    # Log-normal, as the sizes of COCO's images are, with the mean that was asked for.
                    size = int(mean_bytes * np.exp(rng.normal(-0.08, 0.4)))
                    start = int(rng.integers(0, _POOL - size))
                    data = pool[start : start + size]
                    offset = writer.reserve(image, size)
                    write_at(writer.descriptor, data, offset)
                    stored.append(StoredImage(image, size, zlib.crc32(data), offset))
                made = []
                for view in views:
                    objects = [_entry(image_id, number, view) for number in range(OBJECTS)]
                    entries.extend({**entry, "segmentation": _POLYGON} for entry in objects)
                    made.append(VariantRecord(view, _MOTION, "a caption of the image", 0, {}, objects))
                records.add(msgspec.json.encode(PublishedPair(image_id, name, made, images=stored)))
        entries.close()
        records.close(
            About(
                images=len(ids),
                datasets=len(ids) + count,
                entries=count * OBJECTS,
                h5_size=files.h5.stat().st_size,
                pkl_size=pkl.tell(),
                pkl_sha256=entries.sha256,
            )
        )


_MOTION = {"kind": "affine", "matrix": [[1.01, 0.02, 3.0], [0.03, 1.02, -5.0]], "flip": True}
_POLYGON = [[float(number) + 0.25 for number in range(120)]]


def _entry(image_id: int, number: int, view: str) -> dict[str, object]:
    return {
        "area": 10_000,
        "id": image_id * 100 + number,
        "image_id": image_id,
        "bbox": [1, 2, 100, 100],
        "category_id": 5,
        "image_name": view,
        "fidelity": 0.9,
    }


def _busy() -> float:
    """Processor seconds of the children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed_cat(folder: Path) -> tuple[float, float, float]:
    """Seconds of `cat` over the partitions' bytes into a new file, without and with a sync after it; its busy ones."""
    sources = sorted(p for p in (folder / NAME).iterdir() if p.suffix in (".h5", ".pkl"))
    out = folder / "cat.out"
    start, before = time.perf_counter(), _busy()
    with open(out, "wb") as file:
        subprocess.run(["cat", *sources], stdout=file, check=True)
    plain = time.perf_counter() - start
    busy = _busy() - before
    with open(out, "rb") as file:
        os.fsync(file.fileno())
    synced = time.perf_counter() - start
    out.unlink()
    return plain, synced, busy


def timed_merge(folder: Path) -> tuple[float, float, float]:
    """Seconds, busy seconds with its helpers, and peak MB without them of `pairs merge` in a process of its own."""
    program = (
        "import sys; from pathlib import Path; from ovforge.options.tracks import MergeOptions;"
        "from ovforge.synthesis.merge import merge_pairs;"
        f"merge_pairs(MergeOptions({NAME!r}, folder=Path(sys.argv[1])));"
        # Not ru_maxrss: a new process inherits its parent's.
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    start, before = time.perf_counter(), _busy()
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    busy = _busy() - before
    for path in folder.glob(f"{NAME}.*"):
        path.unlink()
    return seconds, busy, int(done.stdout) / 1024


def drop_from_cache(folder: Path) -> None:
    """Have the partitions read from the disk next time."""
    for path in (folder / NAME).iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--mean-kb", type=float, default=50.0, help="mean size of an image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("bench_merge"), help="a new folder; removed afterwards")
    parser.add_argument("--cold", action="store_true", help="drop the partitions from the page cache before each turn")
    options = parser.parse_args()
    try:
        make_run(options.folder, options.images, options.variants, int(options.mean_kb * 1024))
        size = sum(p.stat().st_size for p in (options.folder / NAME).iterdir() if p.suffix in (".h5", ".pkl"))
        print(f"{options.images:,} images x (1 + {options.variants}), {size / 1e9:.2f} GB")
        for _ in range(options.rounds):
            if options.cold:
                drop_from_cache(options.folder)
            plain, synced, cat_busy = timed_cat(options.folder)
            if options.cold:
                drop_from_cache(options.folder)
            seconds, busy, peak = timed_merge(options.folder)
            print(
                f"cat {plain:.1f} s ({synced:.1f} s with sync, {cat_busy:.1f} s busy), "
                f"merge {seconds:.1f} s ({busy:.1f} s busy), {peak:.0f} MB: "
                f"{plain / seconds:.2f} of cat's speed ({synced / seconds:.2f} with sync)",
                flush=True,
            )
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

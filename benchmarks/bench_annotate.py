"""How fast `pairs annotate` is at LVIS size, against the plain way: json.load, pickle.load, json.dump.

    python benchmarks/bench_annotate.py --folder /tmp/bench

The plain way does what the original script does (`generate_json_anno`) and needs 7 GB of memory at full size. Each
measurement is a process of its own, with the memory of its children counted; the figures are medians. Times include
the flush to disk for `pairs annotate`, not for the plain way.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench_annotations import Measured, measure

NAME = "bench"
MASK = {"size": [480, 640], "counts": "PPb0" + "1O1O2N1O10000O01000" * 8}
"""As long as a mask usually is; nobody looks into it."""


def make_merged(folder: Path, annotations: Path) -> None:
    """Write the merged files of a run with one second view per image, as far as `pairs annotate` reads them."""
    import msgspec

    from ovforge.annotation_io.annotation_file import read_records
    from ovforge.files.restricted_pickle import ListWriter
    from ovforge.image_io.hdf5 import ImageWriter
    from ovforge.records.pairs import VariantRecord
    from ovforge.records.run_layout import variant_name
    from ovforge.synthesis.pair_file import About, PairFileWriter, PublishedPair

    objects = defaultdict(list)
    for raw in read_records(annotations, "annotations", msgspec.Raw):
        annotation = msgspec.json.decode(raw)
        if annotation["area"] > 64 * 64:
            objects[annotation["image_id"]].append(annotation)
    entries_count = image_count = 0
    with open(folder / f"{NAME}.pkl", "wb") as pkl, open(folder / f"{NAME}.pairs.json", "wb") as pairs:
        entries, records = ListWriter(pkl), PairFileWriter(pairs)
        for image in read_records(annotations, "images", dict):
            name = image["coco_url"].rpartition("/")[2]
            view = variant_name(name, 0)
            made = [
                {**a, "bbox": [1, 2, 80, 60], "area": 3000, "image_name": view, "fidelity": 0.9, "mask": MASK}
                for a in objects.pop(image["id"], [])
            ]
            entries.extend(made)
            slim = [{key: value for key, value in entry.items() if key != "segmentation"} for entry in made]
            motion = {"kind": "affine", "matrix": [[1.01, 0.02, 3.0], [0.03, 1.02, -5.0]], "flip": True}
            variant = VariantRecord(view, motion, "a caption of the image", 0, {"name": "warp"}, slim)
            records.add(msgspec.json.encode(PublishedPair(image["id"], name, [variant], images=[])))
            entries_count += len(made)
            if not image_count:
                with ImageWriter(folder / f"{NAME}.h5") as writer:
                    writer.add(name, b"x")
                    writer.add(view, b"x")
            image_count += 1
        entries.close()
        records.close(
            About(
                images=image_count,
                datasets=2 * image_count,
                entries=entries_count,
                h5_size=0,
                pkl_size=pkl.tell(),
                pkl_sha256=entries.sha256,
            )
        )


def plain(folder: Path, annotations: Path) -> None:
    """The plain way."""
    from ovforge.records.run_layout import variant_name

    data = json.loads(annotations.read_bytes())
    with open(folder / f"{NAME}.pkl", "rb") as file:
        entries = pickle.load(file)
    moved: dict[str, list[Any]] = defaultdict(list)
    for entry in entries:
        moved[entry["image_name"]].append(entry)
    of_image: dict[int, list[Any]] = defaultdict(list)
    for annotation in data["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    images: list[dict[str, Any]] = []
    annotated: list[dict[str, Any]] = []
    videos: list[dict[str, Any]] = []
    instance = 0
    for image in data["images"]:
        video = len(videos)
        videos.append({"id": video, "width": image["width"], "height": image["height"]})
        images.append({**image, "video_id": video, "frame_id": 0})
        for annotation in of_image[image["id"]]:
            annotated.append({**annotation, "instance_id": instance, "track_id": instance, "video_id": video})
            instance += 1
    image_id = max(image["id"] for image in data["images"]) + 1
    annotation_id = max(annotation["id"] for annotation in data["annotations"]) + 1
    for image in data["images"]:
        video = len(videos)
        name = image["coco_url"].rpartition("/")[2]
        view = variant_name(name, 0)
        videos.append({"id": video, "width": image["width"], "height": image["height"]})
        for frame, file_name in enumerate((name, view)):
            new = {**image, "id": image_id + frame, "file_name": file_name, "video_id": video, "frame_id": frame}
            images.append(new)
        tracks = {}
        for annotation in of_image[image["id"]]:
            if annotation["area"] > 64 * 64:
                tracks[annotation["id"]] = instance
                new = {**annotation, "id": annotation_id, "image_id": image_id, "ori_ann_id": annotation["id"]}
                annotated.append({**new, "instance_id": instance, "track_id": instance, "video_id": video})
                instance += 1
                annotation_id += 1
        for entry in moved[view]:
            track = tracks[entry["id"]]
            new = {key: value for key, value in entry.items() if key not in ("segmentation", "mask")}
            new.update(segmentation=entry["mask"])
            new.update(id=annotation_id, image_id=image_id + 1, instance_id=track, track_id=track, video_id=video)
            annotated.append(new)
            annotation_id += 1
        image_id += 2
    result = {"images": images, "annotations": annotated, "videos": videos, "categories": data["categories"]}
    with open(folder / "plain.json", "w") as file:
        json.dump(result, file)


def ours(folder: Path, annotations: Path, *, original: bool) -> None:
    """What the plain way writes (`original`), or what is written by default: two files, with masks converted."""
    from ovforge.options.tracks import AnnotateOptions
    from ovforge.synthesis.tracks import annotate_pairs

    out = folder / ("ours.json" if original else "default.json")
    annotate_pairs(AnnotateOptions(NAME, folder, out=out, annotations=annotations, original=original, overwrite=True))


def measured(way: str, folder: Path, annotations: Path) -> Measured:
    """One run of one way, in a process of its own."""
    return measure([
        sys.executable, __file__, "--way", way, "--folder", str(folder), "--annotations", str(annotations)
    ])  # fmt: skip


def _check_equal(folder: Path) -> None:
    """Both ways gave the same objects, tracks and ids."""
    with open(folder / "plain.json") as plain_file, open(folder / "ours.json") as our_file:
        theirs, mine = json.load(plain_file), json.load(our_file)
    assert mine["annotations"] == theirs["annotations"]
    assert mine["videos"] == theirs["videos"]
    assert [image["id"] for image in mine["images"]] == [image["id"] for image in theirs["images"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("bench_annotate"), help="a new folder; removed afterwards")
    parser.add_argument("--scale", type=float, default=1.0, help="1 is LVIS train's size")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain-repeats", type=int, default=1, help="of the plain way, which takes minutes")
    parser.add_argument(
        "--no-check", action="store_true", help="do not compare the results, which takes 20 GB at scale 1"
    )
    parser.add_argument("--way", choices=["plain", "ours", "default"], help=argparse.SUPPRESS)
    parser.add_argument("--annotations", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        if options.way == "plain":
            plain(options.folder, options.annotations)
        else:
            ours(options.folder, options.annotations, original=options.way == "ours")
        return
    try:
        from make_lvis import make

        folder = options.folder / f"{options.scale:g}"
        annotations, coco = make(folder, options.scale)
        coco.unlink()
        make_merged(folder, annotations)
        print(f"scale {options.scale:g}: {annotations.stat().st_size / 1e9:.2f} GB", flush=True)
        runs: dict[str, list[Measured]] = defaultdict(list)
        for turn in range(options.repeats):
            runs["ours"].append(measured("ours", folder, annotations))
            runs["default"].append(measured("default", folder, annotations))
            runs["cp"].append(measure(["cp", str(folder / "ours.json"), str(folder / "copy.json")]))
            (folder / "copy.json").unlink()
            if turn < options.plain_repeats:
                runs["plain"].append(measured("plain", folder, annotations))
        for way, times in runs.items():
            seconds, cpu = (statistics.median(getattr(run, field) for run in times) for field in ("seconds", "cpu"))
            peak = max(run.megabytes for run in times)
            print(f"  {way}: {seconds:.2f} s ({cpu:.2f} s CPU), {peak:.0f} MB", flush=True)
        if runs["plain"] and not options.no_check:
            _check_equal(folder)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

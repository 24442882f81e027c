"""Measure the LVIS steps against the plain `json` way of doing the same, and against `cp`.

    python benchmarks/make_lvis.py /tmp/bench
    python benchmarks/bench_annotations.py /tmp/bench --table docs/performance-annotations.md

Each run is a process of its own, ours and the baseline in turns; the table gives medians. Memory is the highest
resident memory of the process and its children together, sampled. `--scale` is the size of the input for the
baseline (made on the spot below 1), since the plain way needs minutes and many gigabytes at full size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

STEPS = ("remove-rare", "category-info", "merge-coco", "base-classes")


class Measured(NamedTuple):
    """One run."""

    seconds: float
    cpu: float
    """User and system seconds of the process and its children."""
    megabytes: float


def baseline(step: str, folder: Path, out: Path) -> None:
    """What the original scripts do: `json.load`, a loop, `json.dump`."""
    source = folder / ("merged.json" if step == "base-classes" else "lvis_v1_train.json")
    with open(source) as file:
        data = json.load(file)
    if step == "remove-rare":
        rare = {category["id"] for category in data["categories"] if category["frequency"] == "r"}
        data["annotations"] = [one for one in data["annotations"] if one["category_id"] not in rare]
    elif step == "category-info":
        image_count: dict[int, set[int]] = defaultdict(set)
        objects: dict[int, int] = defaultdict(int)
        for one in data["annotations"]:
            image_count[one["category_id"]].add(one["image_id"])
            objects[one["category_id"]] += 1
        for category in data["categories"]:
            category["image_count"] = len(image_count[category["id"]])
            category["instance_count"] = objects[category["id"]]
        data = data["categories"]
    elif step == "merge-coco":
        _merge(data, folder)
    else:
        new = {c["id"]: n for n, c in enumerate((c for c in data["categories"] if c["frequency"] != "r"), 1)}
        data["annotations"] = [one for one in data["annotations"] if one["category_id"] in new]
        for one in data["annotations"]:
            one["category_id"] = new[one["category_id"]]
        for image in data["images"]:
            for field in ("neg_category_ids", "not_exhaustive_category_ids"):
                image[field] = [new[one] for one in image[field] if one in new]
        data["categories"] = [c for c in data["categories"] if c["id"] in new]
        for category in data["categories"]:
            category["id"] = new[category["id"]]
    with open(out, "w") as file:
        json.dump(data, file)


def _merge(data: dict[str, Any], folder: Path) -> None:
    import numpy as np

    from ovforge.annotations.coco_classes import COCO_TO_LVIS_SYNSET
    from ovforge.annotations.merge_coco import iou_pairs

    with open(folder / "instances_train2017.json") as file:
        coco = json.load(file)
    of_synset = {category["synset"]: category["id"] for category in data["categories"]}
    category = {one["id"]: of_synset[COCO_TO_LVIS_SYNSET[one["name"]]] for one in coco["categories"]}
    name = {image["file_name"][-16:]: image["id"] for image in coco["images"]}
    ours: dict[int, list[Any]] = defaultdict(list)
    theirs: dict[int, list[Any]] = defaultdict(list)
    for one in data["annotations"]:
        ours[one["image_id"]].append(one)
    for one in coco["annotations"]:
        theirs[one["image_id"]].append(one)
    images = {image["id"]: image for image in data["images"]}
    merged: list[Any] = []
    for number in [*ours, *(number for number in images if number not in ours)]:
        image = images[number]
        boxes = defaultdict(list)
        for one in ours[number]:
            boxes[one["category_id"]].append(one["bbox"])
        merged += ours[number]
        for one in theirs[name.get(image["coco_url"][-16:], -1)]:
            one["category_id"] = category[one["category_id"]]
            if one["category_id"] in image["neg_category_ids"]:
                continue
            same = np.array(boxes[one["category_id"]], np.float64).reshape(-1, 4)
            mine = np.broadcast_to(np.array(one["bbox"], np.float64), same.shape)
            if len(same) == 0 or iou_pairs(same, mine).max() < 0.7:
                one["image_id"] = number
                merged.append(one)
    for number, one in enumerate(merged, 1):
        one["id"] = number
    data["annotations"] = merged


def ours(step: str, folder: Path, out: Path) -> None:
    """The step as the command line runs it."""
    from ovforge import annotations as steps
    from ovforge.options import annotations as options

    lvis, coco = folder / "lvis_v1_train.json", folder / "instances_train2017.json"
    run: dict[str, Callable[[], object]] = {
        "remove-rare": lambda: steps.remove_rare(options.RemoveRareOptions(lvis, out, overwrite=True)),
        "category-info": lambda: steps.category_info(options.CategoryInfoOptions(lvis, out, overwrite=True)),
        "merge-coco": lambda: steps.merge_coco(options.MergeCocoOptions(lvis, coco, out, overwrite=True)),
        "base-classes": lambda: steps.base_classes(
            options.BaseClassesOptions(folder / "merged.json", out, out.with_suffix(".txt"), overwrite=True)
        ),
    }
    run[step]()


def measure(command: list[str]) -> Measured:
    """Run a command and watch the memory of its process tree."""
    began, before = time.perf_counter(), os.times()
    process = subprocess.Popen(command)
    peak = 0.0
    while True:
        peak = max(peak, _resident(process.pid))
        try:
            process.wait(timeout=0.01)
            break
        except subprocess.TimeoutExpired:
            continue
    seconds, after = time.perf_counter() - began, os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(seconds, cpu, peak)


def _resident(pid: int) -> float:
    """Resident megabytes of a process and its children, pages that they share counted for each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(_resident(int(child)) for child in children)


def _same(ours_path: Path, baseline_path: Path) -> bool:
    with open(ours_path) as one, open(baseline_path) as other:
        a, b = json.load(one), json.load(other)
    for data in (a, b):
        if isinstance(data, dict):  # the baseline does not count the merged annotations anew
            data["categories"] = [{k: v for k, v in c.items() if not k.endswith("_count")} for c in data["categories"]]
    return bool(a == b)


def main() -> None:
    """Measure, check that both ways give the same, print the table."""
    parser = argparse.ArgumentParser(description="Measure the LVIS steps against plain json and cp.")
    parser.add_argument("folder", type=Path, help="where make_lvis.py wrote its files")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the input for ours and the baseline in turns")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--baseline-repeats", type=int, help="fewer for the baseline, which takes minutes")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--no-check", action="store_true", help="do not compare the two results")
    parser.add_argument("--table", type=Path, help="write the table here too")
    parser.add_argument("--run", nargs=2, metavar=("WAY", "STEP"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        {"ours": ours, "json": baseline}[options.run[0]](options.run[1], options.folder, options.out)
        return
    baseline_repeats = options.repeats if options.baseline_repeats is None else options.baseline_repeats
    folder = options.folder
    if options.scale != 1:
        folder /= f"scale-{options.scale}"
        if not (folder / "instances_train2017.json").exists():
            from make_lvis import make

            make(folder, options.scale)
    merged = folder / "merged.json"
    here = [sys.executable, __file__, str(folder)]
    if not merged.exists():
        measure([*here, "--run", "ours", "merge-coco", "--out", str(merged)])
    outs = {way: folder / f"out-{way}.json" for way in ("ours", "json", "cp")}
    lines = [
        "| step, input | plain json | ovforge | times faster | times less CPU | `cp` | memory json | memory ovforge |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in options.steps:
        source = folder / ("merged.json" if step == "base-classes" else "lvis_v1_train.json")
        size = source.stat().st_size + (step == "merge-coco") * (folder / "instances_train2017.json").stat().st_size
        runs: dict[str, list[Measured]] = defaultdict(list)
        for turn in range(options.repeats):
            runs["cp"].append(measure(["cp", str(source), str(outs["cp"])]))
            runs["ours"].append(measure([*here, "--run", "ours", step, "--out", str(outs["ours"])]))
            if turn < baseline_repeats:
                runs["json"].append(measure([*here, "--run", "json", step, "--out", str(outs["json"])]))
        if baseline_repeats and not options.no_check and not _same(outs["ours"], outs["json"]):
            raise SystemExit(f"{step}: the two ways give different results")
        lines.append(_line(f"{step}, {size / 1e6:,.0f} MB", runs))
        print(lines[-1], flush=True)
    for path in (*outs.values(), outs["ours"].with_suffix(".txt")):
        path.unlink(missing_ok=True)
    table = "\n".join(lines) + "\n"
    print("\n" + table)
    if options.table:
        options.table.write_text(table)


def _line(name: str, runs: dict[str, list[Measured]]) -> str:
    def cell(way: str) -> str:
        if way not in runs:
            return "-"
        seconds, cpu = (statistics.median(getattr(run, field) for run in runs[way]) for field in ("seconds", "cpu"))
        return f"{seconds:.2f} s ({cpu:.2f} s CPU)"

    def memory(way: str) -> str:
        return f"{max(run.megabytes for run in runs[way]) / 1000:.2f} GB" if way in runs else "-"

    def ratio(field: str) -> str:
        if "json" not in runs:
            return "-"
        plain, mine = (statistics.median(getattr(run, field) for run in runs[way]) for way in ("json", "ours"))
        return f"{plain / mine:.1f}"

    return (
        f"| {name} | {cell('json')} | {cell('ours')} | {ratio('seconds')} | {ratio('cpu')} | {cell('cp')} "
        f"| {memory('json')} | {memory('ours')} |"
    )


if __name__ == "__main__":
    main()

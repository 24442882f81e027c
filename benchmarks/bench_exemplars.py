"""Times `exemplars collate` and `exemplars sample` on generated input of the real size, and a plain-json baseline.

    python benchmarks/bench_exemplars.py --dir /tmp/bench            # about 5 GB of disk, 15 minutes
    python benchmarks/bench_exemplars.py --dir /tmp/bench --scale 0.1

The input has the real numbers: 100,170 images and 1,270,141 annotations of LVIS train, 108,077 images of Visual
Genome with about 2.3 million objects, 997 ImageNet classes with 1.3 million (empty) files. The baseline does what the
original scripts do, with `json.load`, lists and dictionaries, on a tenth of that, because the whole does not fit into
memory. Memory is the most that all processes of a command had resident together, sampled; pages of mapped
files, which the system takes back when it needs them, are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ovforge.taxonomy import lvis_classes, synset_to_wnid

LVIS_IMAGES, LVIS_ANNOTATIONS = 100_170, 1_270_141
GENOME_IMAGES, GENOME_OBJECTS = 108_077, 2_300_000
IMAGENET_IMAGES = 1_300_000
POLYGONS = 20_000

BASELINE = """
import glob, json, os, sys
from collections import defaultdict
lvis, imagenet, genome, output, wnids = sys.argv[1:]
wnids = json.loads(wnids)
data = json.load(open(lvis))
images = {each["id"]: each for each in data["images"]}
synset_of = {each["id"]: each["synset"] for each in data["categories"]}
found = defaultdict(list)
for each in data["annotations"]:
    if each["area"] > 1024:
        each["dataset"] = "lvis"
        each["file_name"] = "/".join(images[each["image_id"]]["coco_url"].split("/")[-2:])
        each["synset"] = synset_of[each["category_id"]]
        found[each["synset"]].append(each)
for id_, synset in synset_of.items():
    for path in sorted(glob.glob(f"{imagenet}/train/{wnids.get(synset)}/*.JPEG")):
        name = "/".join(path.split("/")[-3:])
        found[synset].append({"file_name": name, "category_id": id_, "dataset": "imagenet21k", "synset": synset})
lacking = {synset for synset in synset_of.values() if len(found[synset]) < 40}
images = json.load(open(f"{genome}/image_data.json"))
names = {each["image_id"]: "/".join(each["url"].split("/")[-2:]) for each in images}
ids = {synset: id_ for id_, synset in synset_of.items()}
for image in json.load(open(f"{genome}/objects.json")):
    for each in image["objects"]:
        if len(each["synsets"]) == 1 and each["synsets"][0] in lacking and each["w"] * each["h"] >= 1024:
            synset, number = each["synsets"][0], image["image_id"]
            head = {"image_id": number, "dataset": "visual_genome", "file_name": names[number],
                    "category_id": ids[synset], "synset": synset}
            found[synset].append({**head, **each})
with open(output, "w") as file:
    json.dump({synset: found[synset] for synset in synset_of.values()}, file)
"""


def main() -> None:
    """Generate, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="where the input is generated; kept with --keep")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the real size")
    parser.add_argument("--keep", action="store_true", help="keep the generated files")
    arguments = parser.parse_args()
    full, tenth = arguments.dir / "full", arguments.dir / "tenth"
    for folder, scale in ((full, arguments.scale), (tenth, arguments.scale / 10)):
        if not (folder / "done").exists():
            print(f"generating {folder} ...", file=sys.stderr)
            generate(folder, scale)
            (folder / "done").touch()
    print("| step | size | seconds | CPU seconds | memory, GB | output, GB |\n|---|---|---|---|---|---|")
    for folder, size in ((full, arguments.scale), (tenth, arguments.scale / 10)):
        measure("collate", collate_command(folder), folder / "out" / "exemplars.json", size)
    measure("plain json baseline", baseline_command(tenth), tenth / "out" / "baseline.json", arguments.scale / 10)
    for k, extra in ((5, []), (30, []), (30, ["--nested"])):
        label = f"sample, K={k}{' nested' if extra else ''}"
        measure(label, sample_command(full, k, extra), full / "out" / "drawn.json", arguments.scale)
    if not arguments.keep:
        shutil.rmtree(full)
        shutil.rmtree(tenth)


def generate(folder: Path, scale: float) -> None:
    """Write the three data sets at a part of their real size; the same scale gives the same files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    (folder / "out").mkdir()
    generate_lvis(folder / "lvis_v1_train.json", random, scale)
    generate_genome(folder / "VisualGenome", random, scale)
    generate_imagenet(folder / "imagenet21k_P", random, scale)


def generate_lvis(path: Path, random: np.random.Generator, scale: float) -> None:
    """LVIS train: long-tailed classes, polygons of a long-tailed number of points."""
    images, count = int(LVIS_IMAGES * scale), int(LVIS_ANNOTATIONS * scale)
    classes = lvis_classes()
    share = {"r": 5.0, "c": 60.0, "f": 3000.0}
    weights = np.array([share[each.frequency] for each in classes]) * random.pareto(1.5, len(classes)).clip(0.1, 20)
    category = random.choice([each.id for each in classes], count, p=weights / weights.sum()).tolist()
    image = random.integers(1, images + 1, count).tolist()
    sides = np.exp(random.normal(3.6, 0.9, (count, 2))).clip(2, 400).round(2)
    corner = random.uniform(0, 240, (count, 2)).round(2)
    area = (sides.prod(axis=1) * 0.7).round(2).tolist()
    boxes = np.concatenate([corner, sides], axis=1).tolist()
    points = np.exp(random.normal(3.4, 0.8, POLYGONS)).clip(4, 600).astype(int)
    labelled_objects = [json.dumps([random.uniform(0, 640, 2 * n).round(2).tolist()]) for n in points]
    which = random.integers(0, POLYGONS, count).tolist()
    with path.open("w") as file:
        file.write('{"info": {"version": "1.0"}, "annotations": [')
        for number in range(count):
            file.write(
                f'{", " if number else ""}{{"area": {area[number]}, "id": {number + 1}, "segmentation": '
                f'{labelled_objects[which[number]]}, "image_id": {image[number]}, "bbox": {boxes[number]}, '
                f'"category_id": {category[number]}}}'
            )
        file.write('], "images": [')
        for number in range(1, images + 1):
            url = f"http://images.cocodataset.org/train2017/{number:012}.jpg"
            fields = {"id": number, "coco_url": url, "width": 640, "height": 480, "license": 1}
            lists = {"not_exhaustive_category_ids": [7, 9], "neg_category_ids": [1, 2, 3, 4, 5]}
            file.write(f"{', ' if number > 1 else ''}{json.dumps({**fields, **lists})}")
        categories = [{"id": c.id, "name": c.name, "synset": c.synset, "frequency": c.frequency} for c in classes]
        file.write(f'], "categories": {json.dumps(categories)}, "licenses": []}}')


def generate_genome(folder: Path, random: np.random.Generator, scale: float) -> None:
    """Visual Genome: a quarter of the objects of LVIS synsets, the others of none, of two, or of other synsets."""
    folder.mkdir()
    images, count = int(GENOME_IMAGES * scale), int(GENOME_OBJECTS * scale)
    known = [each.synset for each in lvis_classes()]
    names = known + [f"thing_{number}.n.01" for number in range(4000)]
    weights = np.concatenate([random.pareto(1.0, len(known)) * 3, random.pareto(1.0, 4000) * 3]) + 0.01
    which = random.choice(len(names), count, p=weights / weights.sum()).tolist()
    numbers = np.exp(random.normal(3.8, 0.9, (count, 4))).clip(1, 800).astype(int).tolist()
    kind = random.random(count).tolist()
    per_image = np.array_split(np.arange(count), images)
    with (folder / "objects.json").open("w") as file:
        for place, objects in enumerate(per_image):
            written = ", ".join(_thing(o, names[which[o]], kind[o], numbers[o]) for o in objects.tolist())
            url = f"https://cs.stanford.edu/people/rak248/VG_100K/{place + 1}.jpg"
            start = "[" if place == 0 else ", "
            file.write(f'{start}{{"image_id": {place + 1}, "objects": [{written}], "image_url": "{url}"}}')
        file.write("]")
    with (folder / "image_data.json").open("w") as file:
        json.dump(list(_genome_images(images)), file)


def _thing(number: int, synset: str, kind: float, box: list[int]) -> str:
    synsets = "[]" if kind < 0.05 else f'["{synset}", "thing.n.01"]' if kind < 0.1 else f'["{synset}"]'
    x, y, w, h = box
    return (
        f'{{"synsets": {synsets}, "h": {h}, "object_id": {number}, "merged_object_ids": [], '
        f'"names": ["{synset[:-5]}"], "w": {w}, "y": {y}, "x": {x}}}'
    )


def _genome_images(count: int) -> Iterator[dict[str, object]]:
    for number in range(1, count + 1):
        url = f"https://cs.stanford.edu/people/rak248/VG_100K/{number}.jpg"
        yield {"width": 800, "url": url, "height": 600, "image_id": number, "coco_id": None, "flickr_id": number}


def generate_imagenet(folder: Path, random: np.random.Generator, scale: float) -> None:
    """Folders of 997 classes with empty files under ImageNet's names."""
    wnids = [each.wnid for each in lvis_classes() if each.wnid and each.releases][:997]
    sizes = random.dirichlet(np.full(len(wnids), 3.0)) * IMAGENET_IMAGES * scale
    for wnid, size in zip(wnids, sizes.astype(int).tolist(), strict=True):
        target = folder / "train" / wnid
        target.mkdir(parents=True)
        for number in range(size):
            os.close(os.open(f"{target}/{wnid}_{number * 7}.JPEG", os.O_CREAT | os.O_WRONLY))


def collate_command(folder: Path) -> list[str]:
    """`ovforge exemplars collate` on a generated folder."""
    return [
        *_ovforge("collate"), "--lvis-dir", f"{folder}/lvis_v1_train.json", "--imagenet-dir",
        f"{folder}/imagenet21k_P", "--visual-genome-dir", f"{folder}/VisualGenome", "--out",
        f"{folder}/out/exemplars.json", "--overwrite", "--quiet", "--json",
    ]  # fmt: skip


def sample_command(folder: Path, k: int, extra: list[str]) -> list[str]:
    """`ovforge exemplars sample` from a generated dictionary."""
    return [
        *_ovforge("sample"), "--exemplars", f"{folder}/out/exemplars.json", "--categories",
        f"{folder}/lvis_v1_train.json", "-k", str(k), "--out", f"{folder}/out/drawn.json", "--overwrite", "--quiet",
        *extra,
    ]  # fmt: skip


def baseline_command(folder: Path) -> list[str]:
    """The same with plain json."""
    given = (folder / "lvis_v1_train.json", folder / "imagenet21k_P", folder / "VisualGenome")
    wnids = json.dumps(dict(synset_to_wnid()))
    return [sys.executable, "-c", BASELINE, *map(str, given), f"{folder}/out/baseline.json", wnids]


def _ovforge(step: str) -> list[str]:
    run = "import sys; from ovforge.cli.common import run_app; from ovforge.cli.exemplars import app; "
    return [sys.executable, "-c", run + "sys.exit(run_app(app, sys.argv[1:]))", step]


def measure(label: str, command: list[str], output: Path, size: float) -> None:
    """Run a command and print its row."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = [0]
    sampler = threading.Thread(target=_sample_memory, args=(process, peak))
    sampler.start()
    code = process.wait()
    seconds = time.monotonic() - started
    sampler.join()
    if code:
        sys.exit(f"{label} failed with exit code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    gigabytes = output.stat().st_size / 1e9
    print(f"| {label} | {size:g} | {seconds:.1f} | {cpu:.1f} | {peak[0] / 1e9:.2f} | {gigabytes:.2f} |", flush=True)


def _sample_memory(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_resident(pid) for pid in _family(process.pid)))
        time.sleep(0.05)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main()

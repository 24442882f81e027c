"""Where each training code looks for its files, and the steps that put them there.

The places are those of the readers' own configurations, named with each file. What ovforge does not make (features of a
vision-language model, validation files of TAO) is listed as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ovforge.options import layout
from ovforge.options.tracks import Reader as TracksReader
from ovforge.options.workflow import DEFAULT_RUN, Reader, WorkflowOptions
from ovforge.workflow import detection_steps as detection
from ovforge.workflow import tracking_steps as tracking
from ovforge.workflow.steps import Step

OVTRACK_RUN = "ovtrack_lvis_generated_image_pairs_repeat_1"
"""The name that OVTrack's configurations have for the run."""
METADATA_CATEGORY_INFO = layout.METADATA_DIR / "lvis_v1_train_cat_info.json"
_PAIRS = layout.PAIRS_DIR


@dataclass(frozen=True)
class ReaderFile:
    """A file that a reader's configuration names."""

    path: Path
    read_by: str
    """The reader's own file, and the setting in it."""
    made_by: str = ""
    """The command of the step; empty: it is downloaded, or made by other programs."""
    source: str = ""
    """Where it comes from, if no step makes it."""


class ReaderFileState(msgspec.Struct, frozen=True):
    """A file that a reader's configuration names, as found."""

    path: str
    present: bool
    read_by: str
    made_by: str
    source: str


def steps_for(options: WorkflowOptions) -> tuple[Step, ...]:
    """The steps to the last file that is wanted, in order."""
    match options.reader:
        case None:
            return (*_documented_detection(options), *_pairs(options, options.name or DEFAULT_RUN))
        case Reader.MM_OVOD:
            return (
                detection.remove_rare_step(),
                detection.category_info_step(out=METADATA_CATEGORY_INFO),
                detection.prepare_imagenet_step(options.root),
                detection.index_imagenet_step(),
                detection.collate_step(),
                detection.sample_step(options.k),
            )
        case Reader.DETIC:
            remove_rare = detection.remove_rare_step()
            return (
                remove_rare,
                detection.category_info_step(out=METADATA_CATEGORY_INFO),
                detection.category_info_step(layout.LVIS_TRAIN_NORARE, need=remove_rare.name),
                detection.prepare_imagenet_step(options.root),
                detection.link_imagenet_step(options.root, layout.IMAGENET_DIR / "ImageNet-LVIS"),
                detection.index_imagenet_step(),
            )
        case Reader.OVMR:
            return (
                detection.remove_rare_step(),
                detection.category_info_step(out=METADATA_CATEGORY_INFO),
                detection.prepare_imagenet_step(options.root),
                detection.link_imagenet_step(options.root, layout.IMAGENET_DIR / "imagenet_l"),
                detection.index_imagenet_step(),
                detection.collate_step(),
                detection.sample_step(5),
                detection.sample_step(30),
                detection.crop_lists_step(5, 30, layout.EXEMPLAR_CROPS_OVMR_READ),
            )
        case Reader.OVTRACK:
            return _pairs(
                options,
                options.name or OVTRACK_RUN,
                reader=TracksReader.OVTRACK,
                out=Path("data/tao/annotations/ovtrack") / f"{options.name or OVTRACK_RUN}.json",
            )
        case Reader.OVTR:
            name = options.name or DEFAULT_RUN
            steps = _pairs(options, name, reader=TracksReader.OVTR, out=Path("data/lvis_clear_75_60.json"))
            by_name = {step.name: step for step in steps}
            return (
                *steps,
                tracking.link_step(
                    tracking.CLASS_NAMES_FILE, Path("data/lvis_classes_v1.txt"), by_name["lvis base-classes"]
                ),
                tracking.link_step(
                    _PAIRS / f"{name}.h5", Path("data/lvis_filtered_train_images.h5"), by_name[f"pairs merge {name}"]
                ),
            )
        case Reader.MASA:
            return _pairs(options, options.name or DEFAULT_RUN)


def files_for(options: WorkflowOptions) -> tuple[ReaderFile, ...]:
    """Every file that the reader's configuration names; empty without a reader."""
    made = {path: step.command for step in steps_for(options) for path in step.outputs}

    def file(path: str | Path, read_by: str, source: str = "") -> ReaderFile:
        return ReaderFile(Path(path), read_by, made.get(Path(path), ""), source)

    features = "`ovforge exemplars classifier`, with a local CLIP model"
    match options.reader:
        case Reader.MM_OVOD:
            return (
                file(layout.LVIS_TRAIN_NORARE, "lvis_v1_train_norare in mmovod/data/datasets/lvis_v1.py"),
                file(METADATA_CATEGORY_INFO, "CAT_FREQ_PATH in mmovod/config.py"),
                file(layout.IMAGENET_LVIS_INFO, "imagenet_lvis_v1 in mmovod/data/datasets/imagenet.py"),
                file(layout.IMAGENET_21K, "the images of imagenet_lvis_v1"),
                file(layout.EXEMPLAR_DICT, "tools/sample_exemplars.py"),
                file(layout.exemplars_of(options.k), "tools/ that make the features of exemplars"),
                file(
                    layout.METADATA_DIR / f"lvis_multi-modal_avg_K-{options.k:03d}_own.npy",
                    "ZEROSHOT_WEIGHT_PATH in configs/*multi_modal_avg.yaml",
                    features,
                ),
            )
        case Reader.DETIC:
            return (
                file(layout.LVIS_TRAIN_NORARE, "lvis_v1_train_norare in detic/data/datasets/lvis_v1.py"),
                file(METADATA_CATEGORY_INFO, "CAT_FREQ_PATH in detic/config.py"),
                file(
                    "datasets/lvis/lvis_v1_train_norare_cat_info.json", "cat_freq_path in configs/BoxSup_ViLD_200e.py"
                ),
                file(layout.IMAGENET_LVIS_INFO, "imagenet_lvis_v1 in detic/data/datasets/imagenet.py"),
                file(layout.IMAGENET_DIR / "ImageNet-LVIS", "the images of imagenet_lvis_v1"),
                file(
                    layout.METADATA_DIR / "lvis_v1_clip_a+cname.npy",
                    "ZEROSHOT_WEIGHT_PATH in detic/config.py",
                    f"comes with Detic; or {features}",
                ),
            )
        case Reader.OVMR:
            return (
                file(layout.LVIS_TRAIN_NORARE, "lvis_v1_train_norare in mmovod/data/datasets/lvis_v1.py"),
                file(METADATA_CATEGORY_INFO, "CAT_FREQ_PATH in mmovod/config.py"),
                file(layout.IMAGENET_LVIS_INFO, "imagenet_lvis_v1 in mmovod/data/datasets/imagenet.py"),
                file(layout.IMAGENET_DIR / "imagenet_l", "the images of imagenet_lvis_v1"),
                file(layout.exemplars_of(5), "tools/ of the branch det"),
                file(layout.exemplars_of(30), "tools/save_LVIS_exemplars_ovmr.py"),
                file(layout.EXEMPLAR_CROPS_OVMR_READ / "classes.json", "dataset_dir in datasets/lvis.py (from 0)"),
            )
        case Reader.OVTRACK:
            name = options.name or OVTRACK_RUN
            config = "configs/ovtrack-tao/ovtrack_r50.py"
            return (
                file(tracking.CLASS_NAMES_FILE, f"classes in {config}: all 1,203"),
                file(f"data/tao/annotations/ovtrack/{name}.json", f"ann_file in {config}"),
                file(_PAIRS / f"{name}.h5", f"img_db_path in {config}"),
                file("data/tao/annotations/validation_ours_v1.json", f"ann_file of val in {config}", "OVTrack's site"),
            )
        case Reader.OVTR:
            config = "ovtr/config/ovtr_5_frame_train_val.py"
            return (
                file("data/lvis_classes_v1.txt", f"classes in {config}"),
                file("data/lvis_clear_75_60.json", f"ann_file in {config}"),
                file("data/lvis_filtered_train_images.h5", f"img_db_path in {config}"),
                file("data/validation_ours_v1.json", f"ann_file of val in {config}", "OVTR's site"),
            )
        case Reader.MASA:
            name = options.name or DEFAULT_RUN
            return (
                file(_PAIRS / f"annotations/{name}.json", "ann_file of a CocoVideoDataset in your configuration"),
                file(_PAIRS / f"{name}.h5", "its images; or `ovforge pairs export --to images`"),
            )
        case None:
            return ()


def look_up(options: WorkflowOptions) -> tuple[ReaderFileState, ...]:
    """Which of the reader's files are there."""
    return tuple(
        ReaderFileState(str(file.path), (options.root / file.path).exists(), file.read_by, file.made_by, file.source)
        for file in files_for(options)
    )


def _documented_detection(options: WorkflowOptions) -> tuple[Step, ...]:
    return (
        detection.remove_rare_step(),
        detection.category_info_step(),
        detection.prepare_imagenet_step(options.root),
        detection.index_imagenet_step(),
        detection.collate_step(),
        detection.sample_step(options.k),
        detection.crop_step(options.k),
    )


def _pairs(
    options: WorkflowOptions, name: str, *, reader: TracksReader | None = None, out: Path | None = None
) -> tuple[Step, ...]:
    generate = tracking.generate_step(name, options.engine)
    merge = tracking.merge_pairs_step(name, generate)
    return (
        tracking.merge_coco_step(),
        tracking.base_classes_step(),
        tracking.pack_images_step(),
        generate,
        merge,
        tracking.annotate_pairs_step(name, merge, reader=reader, out=out),
    )

"""Where files live: the one list of the paths that the originals' documents name.

All paths are relative to the root of the user's data: the folder with `datasets/` (detection, as MM-OVOD's document
has it) or `data/` (tracking, as OVTrack's has it). Every step's default comes from here.
"""

from __future__ import annotations

from pathlib import Path

# Detection: downloaded
LVIS_DIR = Path("datasets/lvis")
LVIS_TRAIN = LVIS_DIR / "lvis_v1_train.json"
LVIS_VAL = LVIS_DIR / "lvis_v1_val.json"
COCO_DIR = Path("datasets/coco")
IMAGENET_DIR = Path("datasets/imagenet")
IMAGENET_21K = IMAGENET_DIR / "imagenet21k_P"
IMAGENET_ARCHIVES = tuple(
    IMAGENET_DIR / name
    for name in (
        "fall11_whole.tar",
        "winter21_whole.tar.gz",
        "winter21_whole.tar",
        "imagenet21k_resized.tar.gz",
        "imagenet21k_resized.tar",
    )
)
VISUAL_GENOME_DIR = Path("datasets/VisualGenome")

# Detection: made
DEFAULT_K = 5
LVIS_TRAIN_NORARE = LVIS_DIR / "lvis_v1_train_norare.json"
LVIS_TRAIN_CATEGORY_INFO = LVIS_DIR / "lvis_v1_train_cat_info.json"
IMAGENET_LVIS_INFO = IMAGENET_DIR / "annotations/imagenet_lvis_image_info.json"
METADATA_DIR = Path("datasets/metadata")
EXEMPLAR_DICT = METADATA_DIR / "exemplar_dict.json"
EXEMPLAR_CROPS = Path("datasets/lvis_exemplars_final")
EXEMPLAR_CROPS_OVMR = Path("datasets/lvis_exemplars_ovmr_K30")
"""Where OVMR's script writes them."""
EXEMPLAR_CROPS_OVMR_READ = Path("datasets/lvis_exemplars_mmovod_K30")
"""Where OVMR's training reads them."""

# Tracking: downloaded
TRACKING_DIR = Path("data")
TRACKING_LVIS_DIR = TRACKING_DIR / "lvis"
TRACKING_IMAGES = TRACKING_LVIS_DIR / "train2017"
TRACKING_LVIS_TRAIN = TRACKING_LVIS_DIR / "annotations/lvis_v1_train.json"
TRACKING_COCO_TRAIN = TRACKING_DIR / "coco/annotations/instances_train2017.json"
TRACKING_COCO_TRAIN_PLACES = (
    TRACKING_COCO_TRAIN,
    TRACKING_LVIS_DIR / "annotations/instances_train2017.json",  # where OVTrack's own script looks
)
TRACKING_CAPTIONS = TRACKING_LVIS_DIR / "annotations/captions_train2017.json"
SAVED_MODELS = Path("saved_models")
DIFFUSION_MODEL = SAVED_MODELS / "stable-diffusion-v1-4"

# Tracking: made
TRACKING_MERGED = TRACKING_LVIS_DIR / "annotations/lvis_v1_train+coco_mask_v1.json"
TRACKING_MERGED_BOXES = TRACKING_LVIS_DIR / "annotations/lvis_v1_train+coco_box_v1.json"
TRACKING_BASE = TRACKING_LVIS_DIR / "annotations/lvis_v1_train+coco_mask_v1_base.json"
TRACKING_PACKED = TRACKING_LVIS_DIR / "train_imgs.hdf5"
PAIRS_DIR = TRACKING_DIR / "tao/ovtrack"


def crops_of(k: int) -> Path:
    """Where the crops of K exemplars a class go: crops of another K than the documents' have a folder of their own."""
    return EXEMPLAR_CROPS if k == DEFAULT_K else EXEMPLAR_CROPS.with_name(f"{EXEMPLAR_CROPS.name}_K-{k:03d}")


def exemplars_of(k: int) -> Path:
    """Where the K exemplars a class that `exemplars sample` draws go."""
    return METADATA_DIR / f"lvis_image_exemplar_dict_K-{k:03d}_own.json"

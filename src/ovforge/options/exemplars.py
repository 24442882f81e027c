"""Options of the exemplar steps: collate, sample, crop, index."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.options import layout

SMALL_BOX = 32 * 32
"""Area in square pixels below which a box makes no exemplar (Kaul et al. 2023, appendix)."""


class Substitutes(str, Enum):
    """Which classes receive the images of their substitute synsets."""

    LACKING = "lacking"
    """Those that still have fewer than ten exemplars of their own."""
    ALWAYS = "always"
    """All 43 that the original lists, whatever they have; others as with `lacking`."""
    NEVER = "never"


class Shortage(str, Enum):
    """What happens to a class with fewer than K exemplars."""

    REPEAT = "repeat"
    """Every exemplar is taken once, in a weighted order, before one is taken again."""
    REDRAW = "redraw"
    """All K are drawn with replacement, even if only one is missing (OVMR)."""
    FEWER = "fewer"
    """The class keeps what it has, in a weighted order."""
    ERROR = "error"
    """Nothing is written; the short classes are named."""


class Pick(str, Enum):
    """By what exemplars are chosen."""

    AREA = "area"
    """Drawn by the area of their boxes, as the original does."""
    TYPICAL = "typical"
    """Those nearest to the mean feature of their class."""
    DIVERSE = "diverse"
    """The most typical one, then those least like all that were taken."""


class CropForm(str, Enum):
    """How the crops are laid out in folders."""

    SPLIT = "split"
    """One list. `all/ID` holds every crop, `train/ID` the first ten, `val/ID` the rest from other images; ID is the
    category id."""
    LISTS = "lists"
    """Two lists. `val/N` and `train/N`, each with every crop of its list; N is the class's place, from 0."""


@dataclass(frozen=True)
class CollateOptions:
    """From LVIS, ImageNet-21K and Visual Genome to one dictionary of exemplars; a source may be None or not there."""

    output: Path
    lvis_dir: Path | None = None
    """Folder with `lvis_v1_train.json`, or the annotation file itself."""
    imagenet_dir: Path | None = None
    """`imagenet21k_P` with its `train` and `imagenet21k_small_classes`, a flat copy, or class tars."""
    visual_genome_dir: Path | None = None
    """Folder with `objects.json` and `image_data.json`."""
    coverage: Path | None = None
    """Where the coverage report goes; None is beside `output`."""
    substitutes: Substitutes = Substitutes.LACKING
    min_area: float = SMALL_BOX
    """LVIS masks must be larger than this, Visual Genome boxes at least as large, in square pixels."""
    visual_genome_under: int = 40
    """Classes with fewer exemplars from LVIS and ImageNet than this get Visual Genome objects."""
    enough: int = 10
    """Classes with fewer exemplars than this are lacking."""
    require: int | None = None
    """Fewer exemplars than this in any class are an error."""
    overwrite: bool = False


@dataclass(frozen=True)
class SampleOptions:
    """K exemplars a class, drawn by area."""

    exemplars: Path
    """The dictionary that `collate` writes."""
    categories: Path
    """Annotation file whose categories are wanted, LVIS layout."""
    output: Path
    k: int = 5
    seed: int = 42
    shortage: Shortage = Shortage.REPEAT
    nested: bool = False
    """A smaller K of the same seed is contained in a larger one."""
    exclude: Path | None = None
    """Annotation file whose images must not become exemplars."""
    visual_genome_dir: Path | None = None
    """Where `image_data.json` says which Visual Genome images are COCO images; asked only with `exclude`."""
    with_names: bool = False
    """Write a dictionary keyed by synset in place of the list."""
    pick: Pick = Pick.AREA
    features: Path | None = None
    """What `exemplars embed` wrote for the dictionary; needed for `pick` other than AREA."""
    overwrite: bool = False


@dataclass(frozen=True)
class CropOptions:
    """From drawn exemplars to images."""

    exemplars: Path
    """What `sample` writes; the `val` list of the form `lists`."""
    output: Path
    form: CropForm = CropForm.SPLIT
    train_exemplars: Path | None = None
    """The `train` list of the form `lists`; None is `exemplars`."""
    lvis_images: Path = layout.COCO_DIR
    """Folder that holds `train2017`, or an HDF5 file of images."""
    imagenet_images: Path = layout.IMAGENET_21K
    visual_genome_images: Path = layout.VISUAL_GENOME_DIR
    context: float = 0.4
    """How much wider than the box the crop is: 0.4 is 40 %."""
    square: bool = True
    quality: int = 95
    """JPEG quality of crops, 1 to 100; whole images are copied as they are."""
    train_shots: int = 10
    """How many of a class's exemplars the form `split` puts into `train`."""
    sheet: bool = False
    """Also draw a contact sheet per class."""
    overwrite: bool = False


@dataclass(frozen=True)
class ExemplarIndexOptions:
    """From cropped images to an annotation file that lists them."""

    crops: Path
    """The folder that `crop` writes."""
    categories: Path
    """Annotation file with the wanted categories, in any numbering."""
    output: Path
    split: str = "val"
    """Which of the folders `train`, `val`, `all`."""
    overwrite: bool = False

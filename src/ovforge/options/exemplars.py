"""Options of the exemplar steps: collate, sample, crop, index."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.options import layout
from ovforge.options.base import Options, option

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
    """Sampled by the area of their boxes, as the original does."""
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
class CollateOptions(Options):
    """From LVIS, ImageNet-21K and Visual Genome to one dictionary of exemplars; a source may be None or missing."""

    out: Path = option(layout.EXEMPLAR_DICT, "The dictionary to write.", "--out", "--output-path")
    lvis_dir: Path | None = option(layout.LVIS_DIR, "Folder with lvis_v1_train.json, or that file.")
    imagenet_dir: Path | None = option(layout.IMAGENET_21K, "ImageNet-21K: its parts, a flat copy, or class tars.")
    visual_genome_dir: Path | None = option(layout.VISUAL_GENOME_DIR, "Folder with objects.json and image_data.json.")
    coverage: Path | None = option(None, "The coverage report to write.", shown="beside the dictionary")
    substitutes: Substitutes = option(
        Substitutes.LACKING,
        "Images of related synsets go to the classes still under ten, to all 43 listed ones, or to none.",
    )
    min_area: float = option(SMALL_BOX, "Smaller boxes are skipped, in square pixels.")
    visual_genome_under: int = option(40, "Visual Genome goes to classes with fewer exemplars than this.")
    enough: int = option(10, hidden=True)
    """Classes with fewer exemplars than this are lacking."""
    require: int | None = option(None, "A class with fewer exemplars than this is an error.")
    overwrite: bool = option(False, "Replace an existing output.")

    @property
    def output(self) -> Path:
        """Where the dictionary goes."""
        return self.out


@dataclass(frozen=True)
class CoverageTable(Options):
    """What the command `exemplars collate` shows of the coverage report."""

    all_classes: bool = option(False, "Show every class in the table.")


@dataclass(frozen=True)
class SampleOptions(Options):
    """K exemplars of every class, sampled by area."""

    exemplars: Path = option(
        layout.EXEMPLAR_DICT, "The dictionary that collate writes.", "--exemplars", "--exemplar-dict-path"
    )
    categories: Path = option(
        layout.LVIS_VAL, "LVIS file whose categories are wanted.", "--categories", "--lvis-ann-path"
    )
    out: Path | None = option(
        None,
        "The file to write.",
        "--out",
        "--out-path",
        shown="datasets/metadata/lvis_image_exemplar_dict_K-00K_own.json, by K",
    )
    k: int = option(5, "Exemplars per class.", "-k", "-K")
    seed: int = option(42, "Seed of the sampling.")
    shortage: Shortage = option(
        Shortage.REPEAT,
        "Classes with fewer than K: take each once before repeating, redraw all with replacement as OVMR does, "
        "keep fewer, or stop.",
    )
    nested: bool = option(False, "A smaller K of the same seed is the beginning of a larger.")
    exclude: Path | None = option(None, "No exemplar from the images of this annotation file.", "--exclude-ann")
    visual_genome_dir: Path | None = option(
        layout.VISUAL_GENOME_DIR, "Its image_data.json says which images are COCO's; see --exclude-ann."
    )
    with_names: bool = option(False, "Write a dictionary keyed by synset, not a list.")
    pick: Pick = option(Pick.AREA, "By area as the original does, or by features: typical or diverse ones.")
    features: Path | None = option(None, "What embed wrote; for --pick typical and diverse.", metavar="FOLDER")
    overwrite: bool = option(False, "Replace an existing output.")

    @property
    def output(self) -> Path:
        """Where the sampled exemplars go."""
        return self.out or layout.exemplars_of(self.k)


@dataclass(frozen=True)
class CropOptions(Options):
    """From sampled exemplars to images."""

    exemplars: Path = option(
        layout.exemplars_of(30), "What sample writes; the val list of --form lists.", "--exemplars", "--ann-path"
    )
    out: Path = option(layout.EXEMPLAR_CROPS, "The folder to write.", "--out", "--save_dir")
    form: CropForm = option(
        CropForm.SPLIT,
        "split: one list, in folders train, val and all by category id; lists: two lists, in folders val and train by "
        "place in the list.",
    )
    train_exemplars: Path | None = option(
        None,
        "The train list of --form lists.",
        "--train-exemplars",
        "--train_ann_path",
        shown="the same list",
    )
    lvis_images: Path = option(
        layout.COCO_DIR, "Folder that holds train2017, or an HDF5 file of images.", "--lvis-img-dir"
    )
    imagenet_images: Path = option(
        layout.IMAGENET_21K, "ImageNet-21K: its parts, a flat copy, class tars, or HDF5.", "--imagenet-img-dir"
    )
    visual_genome_images: Path = option(
        layout.VISUAL_GENOME_DIR, "Folder that holds VG_100K and VG_100K_2, or HDF5.", "--visual-genome-img-dir"
    )
    context: float = option(0.4, "How much wider than its box a crop is: 0.4 is 40 %.", at_least=0)
    square: bool = option(True, "Make crops square where the image allows.")
    quality: int = option(95, "JPEG quality of crops; whole images are copied.", at_least=1, at_most=100)
    train_shots: int = option(10, "How many exemplars of a class the form split puts into train.", at_least=0)
    sheet: bool = option(False, "Also draw a contact sheet per class.")
    overwrite: bool = option(False, "Replace an existing output.")

    @property
    def output(self) -> Path:
        """The folder of the crops."""
        return self.out


@dataclass(frozen=True)
class ExemplarIndexOptions(Options):
    """From cropped images to an annotation file that lists them."""

    crops: Path = option(layout.EXEMPLAR_CROPS_OVMR, "The folder that crop writes.", "--crops", "--lvis-exemplar-path")
    categories: Path = option(
        layout.LVIS_VAL, "Annotation file with the wanted categories.", "--categories", "--lvis-meta-path"
    )
    out: Path | None = option(
        None,
        "The file to write.",
        "--out",
        "--out-path",
        shown="annotations/lvis_exemplar_info.json beside the crops",
    )
    split: str = option("val", "Which folder to list: train, val or all.")
    overwrite: bool = option(False, "Replace an existing output.")

    @property
    def output(self) -> Path:
        """Where the annotation file goes."""
        return self.out or self.crops / "annotations" / "lvis_exemplar_info.json"

"""Options of the steps that look at images with a vision model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, option

FEATURES_DIR = layout.METADATA_DIR / "exemplar_features"
"""Where the features of exemplars go: a folder per model."""
PANEL = "Vision model"
_DEVICE = "cpu, cuda, cuda:1; auto: a GPU if there is one."
_DTYPE = "Numbers that the model computes in."
_BATCH = "Images at once."
_FOLDER = "a folder of transformers with safetensors; nothing is downloaded"
DEFAULT_TEMPLATE = "a {}"
"""Detic's and MM-OVOD's prompt for a class name."""


class Dtype(str, Enum):
    """The number format that a model computes in; features are stored as float32 whatever it is."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class ClassifierKind(str, Enum):
    """What the rows of a classifier are made from."""

    TEXT = "text"
    """The mean of the features of a class's texts."""
    IMAGE = "image"
    """The mean of the features of a class's exemplars."""
    FUSED = "fused"
    """Normalised text plus normalised image, not normalised again (Kaul et al. 2023)."""


class ClassifierLayout(str, Enum):
    """Who reads the classifier."""

    DETIC = "detic"
    """Detic's `ZEROSHOT_WEIGHT_PATH`: .npy, float32 (classes, dimension)."""
    MM_OVOD = "mm-ovod"
    """The same file: MM-OVOD's classifier is Detic's."""
    OVMR = "ovmr"
    """A .pt file with `text_classifier`, `vision_classifier`, `mm_classifier` and `fusion_weight`."""


class WithoutExemplars(str, Enum):
    """What happens to a class that has no exemplar."""

    ERROR = "error"
    """Nothing is written; the classes are named."""
    TEXT = "text"
    """Its row is its text alone; the classes are named in the summary."""


@dataclass(frozen=True)
class VisionOptions:
    """Which model looks, and how.

    Attributes:
        folder: a local folder in the layout of transformers, with safetensors.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; has no influence on what is computed but for rounding.
        dtype: the number format that the model computes in.
        batch: images at once.
    """

    folder: Path
    device: str = "auto"
    dtype: Dtype = Dtype.FLOAT32
    batch: int = 64


@dataclass(frozen=True)
class EmbedOptions(Options):
    """From exemplars to their features."""

    exemplars: Path = option(help="Exemplars, as sample or collate writes them.", argument=True, metavar="FILE")
    vision: Path = option(help=f"CLIP, SigLIP or DINO: {_FOLDER}.", panel=PANEL, metavar="FOLDER")
    out: Path | None = option(
        None, "The folder of the features.", metavar="FOLDER", shown="datasets/metadata/exemplar_features/MODEL"
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
    augment: int = option(0, "Random views of every crop whose features are averaged; MM-OVOD takes 5.", at_least=0)
    seed: int = option(0, "Seed of the random views.", at_least=0)
    threads: int = option(2, "Threads per worker that decode beside the model.", at_least=1)
    device: str = option("auto", _DEVICE, panel=PANEL)
    dtype: Dtype = option(Dtype.FLOAT32, _DTYPE, panel=PANEL)
    batch: int = option(64, _BATCH, at_least=1, panel=PANEL)
    overwrite: bool = option(False, "Throw away features that were made with another model or other settings.")

    @property
    def model(self) -> VisionOptions:
        """The model that looks."""
        return VisionOptions(self.vision, self.device, self.dtype, self.batch)

    @property
    def folder(self) -> Path:
        """Where the features go."""
        return self.out or features_folder(self.vision, self.augment)


def features_folder(model: Path, augment: int) -> Path:
    """The default place of a model's features of exemplars."""
    name = model.resolve().name
    return FEATURES_DIR / (f"{name}_augment{augment}" if augment else name)


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """From features and texts to a classifier of a detector."""

    out: Path = option(help="The file to write.")
    exemplars: Path | None = option(
        None, "Exemplars, as sample writes them; not needed for --kind text.", argument=True, metavar="FILE"
    )
    kind: ClassifierKind = option(
        ClassifierKind.FUSED,
        "What rows are made from; fused: normalised text plus normalised image, as in MM-OVOD.",
    )
    categories: Path = option(layout.LVIS_VAL, "Annotation file whose categories are wanted; rows by their ids.")
    layout: ClassifierLayout = option(
        ClassifierLayout.DETIC, "Who reads the file: .npy for Detic and MM-OVOD, .pt for OVMR."
    )
    features: Path | None = option(
        None, "What embed wrote.", metavar="FOLDER", shown="the model's folder in datasets/metadata/exemplar_features"
    )
    vision: Path | None = option(
        None, f"CLIP or SigLIP, the one of the features: {_FOLDER}.", panel=PANEL, metavar="FOLDER"
    )
    template: tuple[str, ...] = option((), "A text per class name, with {}; again for more.", shown=DEFAULT_TEMPLATE)
    descriptions: Path | None = option(None, "JSON from class to a list of texts, in place of templates.")
    without_exemplars: WithoutExemplars = option(
        WithoutExemplars.ERROR, "Classes without exemplars: an error, or their text alone."
    )
    add: tuple[str, ...] = option(
        (),
        "A class of one's own with a folder of its images, after the others; NAME= for text alone; again for more.",
        metavar="NAME=FOLDER",
    )
    device: str = option("auto", _DEVICE, panel=PANEL)
    dtype: Dtype = option(Dtype.FLOAT32, _DTYPE, panel=PANEL)
    batch: int = option(64, _BATCH, at_least=1, panel=PANEL)
    overwrite: bool = option(False, "Replace an existing output.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_templates(self.template)
        names: set[str] = set()
        for text in self.add:
            name, equals, _ = text.partition("=")
            if not name or not equals:
                raise InputError(f"--add={text!r} is not of the form NAME=FOLDER", hint="NAME= goes by the name alone")
            if name in names:
                raise InputError(f"--add={name}: given twice", hint="put the images of one class into one folder")
            names.add(name)

    @property
    def model(self) -> VisionOptions | None:
        """The model that reads the texts, and the images of added classes."""
        return None if self.vision is None else VisionOptions(self.vision, self.device, self.dtype, self.batch)

    @property
    def templates(self) -> tuple[str, ...]:
        """The texts per class name."""
        return self.template or (DEFAULT_TEMPLATE,)

    @property
    def added(self) -> tuple[tuple[str, Path | None], ...]:
        """Further classes: name and folder of images, None for text alone."""
        parts = (text.partition("=") for text in self.add)
        return tuple((name, Path(folder) if folder else None) for name, _, folder in parts)


def check_templates(templates: tuple[str, ...]) -> None:
    """Refuse texts that have no place for a class name."""
    for template in templates:
        if "{}" not in template:
            raise InputError(f"the template '{template}' has no {{}} for the class name")


@dataclass(frozen=True)
class CheckOptions(Options):
    """Exemplars that someone should look at."""

    exemplars: Path = option(
        help="Exemplars, as sample writes them; the val list of two.", argument=True, metavar="FILE"
    )
    features: Path = option(help="What embed wrote for them.", metavar="FOLDER")
    train_exemplars: Path | None = option(
        None, "The train list.", shown="the first exemplars of each class, as crop --form split has it"
    )
    train_shots: int = option(10, "How many exemplars of a class are train where there is one list.", at_least=0)
    categories: Path = option(layout.LVIS_VAL, "Annotation file with the classes.")
    out: Path | None = option(None, "The report to write.", shown="FILE.check.json")
    vision: Path | None = option(
        None,
        f"CLIP or SigLIP, the one of the features, to compare with texts: {_FOLDER}.",
        panel=PANEL,
        metavar="FOLDER",
    )
    template: tuple[str, ...] = option((), "A text per class name, with {}; again for more.", shown=DEFAULT_TEMPLATE)
    descriptions: Path | None = option(None, "JSON from class to a list of texts, in place of templates.")
    similarity: float = option(0.97, "Near-duplicates have at least this cosine.", above=0, at_most=1)
    deviations: float = option(3.5, "An outlier is so many deviations less like its class than the others.", above=0)
    coverage: Path | None = option(None, "Coverage report of collate, which receives each class's accuracy.")
    device: str = option("auto", _DEVICE, panel=PANEL)
    dtype: Dtype = option(Dtype.FLOAT32, _DTYPE, panel=PANEL)
    batch: int = option(64, _BATCH, at_least=1, panel=PANEL)
    overwrite: bool = option(False, "Replace an existing report.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_templates(self.template)

    @property
    def model(self) -> VisionOptions | None:
        """The model of the features; None: texts are not compared."""
        return None if self.vision is None else VisionOptions(self.vision, self.device, self.dtype, self.batch)

    @property
    def templates(self) -> tuple[str, ...]:
        """The texts per class name."""
        return self.template or (DEFAULT_TEMPLATE,)

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.out or self.exemplars.with_name(f"{self.exemplars.stem}.check.json")

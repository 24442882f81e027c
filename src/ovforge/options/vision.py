"""Options of the steps that look at images with a vision model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout

FEATURES_DIR = layout.METADATA_DIR / "exemplar_features"
"""Where the features of exemplars go: a folder per model."""
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

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"--batch {self.batch}: has to be at least 1")


@dataclass(frozen=True)
class EmbedOptions:
    """From exemplars to their features.

    Attributes:
        exemplars: what `exemplars sample` or `exemplars collate` writes.
        vision: the model.
        output: folder of the features; None: `FEATURES_DIR`, in it a folder called as the model's.
        lvis_images, imagenet_images, visual_genome_images: where the images are, as for `exemplars crop`.
        context: how much wider than the box the crop is: 0.4 is 40 %.
        square: crops are square where the image allows.
        augment: random views of every crop whose features are averaged; 0: the crop as it is. MM-OVOD takes 5.
        seed: of the random views.
        threads: threads that decode and prepare images beside the model, per worker.
        overwrite: throw away features that were made with another model or other settings.
    """

    exemplars: Path
    vision: VisionOptions
    output: Path | None = None
    lvis_images: Path = layout.COCO_DIR
    imagenet_images: Path = layout.IMAGENET_21K
    visual_genome_images: Path = layout.VISUAL_GENOME_DIR
    context: float = 0.4
    square: bool = True
    augment: int = 0
    seed: int = 0
    threads: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.context < 0:
            raise InputError(f"--context {self.context}: 0 is the box itself, there is no less")
        if self.augment < 0:
            raise InputError(f"--augment {self.augment}: give 0 for the crop as it is, or a number of views")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: give 0 or more")
        if self.threads < 1:
            raise InputError(f"--threads {self.threads}: has to be at least 1")

    @property
    def folder(self) -> Path:
        """Where the features go."""
        return self.output or features_folder(self.vision.folder, self.augment)


def features_folder(model: Path, augment: int) -> Path:
    """The default place of a model's features of exemplars."""
    name = model.resolve().name
    return FEATURES_DIR / (f"{name}_augment{augment}" if augment else name)


@dataclass(frozen=True)
class ClassifierOptions:
    """From features and texts to a classifier of a detector.

    Attributes:
        exemplars: the exemplars that count, what `exemplars sample` writes; not read for kind `text`.
        output: the file to write.
        kind: what the rows are made from; the layout `ovmr` always holds all three.
        layout: who reads the file.
        categories: annotation file whose categories are wanted; rows are in the order of their ids.
        features: what `exemplars embed` wrote; not read for kind `text`.
        vision: the model that reads the texts, and the images of added classes.
        templates: texts per class name; `{}` is replaced by it.
        descriptions: JSON from class name or synset to a list of texts, in place of the templates.
        without_exemplars: what happens to classes without any.
        added: further classes, after the others: name and folder of images; an empty folder path for text alone.
        overwrite: replace a file that is already there.
    """

    output: Path
    exemplars: Path | None = None
    kind: ClassifierKind = ClassifierKind.FUSED
    categories: Path = layout.LVIS_VAL
    layout: ClassifierLayout = ClassifierLayout.DETIC
    features: Path | None = None
    vision: VisionOptions | None = None
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    descriptions: Path | None = None
    without_exemplars: WithoutExemplars = WithoutExemplars.ERROR
    added: tuple[tuple[str, Path], ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        for template in self.templates:
            if "{}" not in template:
                raise InputError(f"the template '{template}' has no {{}} for the class name")
        if not self.templates:
            raise InputError("a classifier needs at least one template")


@dataclass(frozen=True)
class CheckOptions:
    """Exemplars that someone should look at.

    Attributes:
        exemplars: what `exemplars sample` writes; the val list where there are two.
        features: what `exemplars embed` wrote for them.
        train_exemplars: the train list; None: the first `train_shots` of `exemplars` are train, as in
            `exemplars crop --form split`.
        train_shots: see `train_exemplars`.
        categories: annotation file with the classes.
        output: the report; None: beside `exemplars`.
        vision: the model of the features, to compare exemplars with texts; None: texts are not compared.
        templates, descriptions: the texts, as in `ClassifierOptions`.
        similarity: two exemplars whose features have at least this cosine are near-duplicates.
        deviations: an outlier is so many deviations less like its class than its class's others are.
        coverage: the coverage report of `exemplars collate`, which receives each class's leave-one-out accuracy.
        overwrite: replace a report that is already there.
    """

    exemplars: Path
    features: Path
    train_exemplars: Path | None = None
    train_shots: int = 10
    categories: Path = layout.LVIS_VAL
    output: Path | None = None
    vision: VisionOptions | None = None
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    descriptions: Path | None = None
    similarity: float = 0.97
    deviations: float = 3.5
    coverage: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise InputError(f"--similarity {self.similarity}: a cosine above 0 and at most 1")
        if self.deviations <= 0:
            raise InputError(f"--deviations {self.deviations}: has to be above 0")

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.output or self.exemplars.with_name(f"{self.exemplars.stem}.check.json")

"""The protocol between the making of pairs and the engines that repaint an image's background.

Everything before (motion, masks, composing, size and padding) and after (cropping, back to the original size,
encoding) is done once, for all engines. An engine gets composed images and hands back repainted ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ovforge.options.labels import Labels, Outside


@dataclass(frozen=True)
class WorkingSize:
    """How a composed image is brought to the size an engine works at.

    The image is scaled to fit `width` x `height` with its proportions kept and padded at the right and below,
    by repeating its edge, to multiples of `multiple` pixels.
    """

    width: int = 768
    height: int = 512
    multiple: int = 64


@dataclass(frozen=True)
class RepaintJob:
    """One image to repaint.

    Attributes:
        image: composed image, uint8 RGB (height, width, 3), at the engine's working size, padded.
        keep_mask: bool (height, width): True is kept, False is repainted. The padding is not kept.
        content: (width, height) of the image without its padding.
        prompt: the caption drawn for the image, or what stands in for it; empty for none.
        image_id, variant, seed: the key of the image's random numbers (see `synthesis.randomness`).
        part: which of several parts of the image this is; it belongs to the key.
    """

    image: NDArray[np.uint8]
    keep_mask: NDArray[np.bool_]
    content: tuple[int, int]
    prompt: str
    image_id: int
    variant: int
    seed: int
    part: int = 0

    def purpose(self, text: str) -> str:
        """What a generator of this job is for: parts of one image have other random numbers."""
        return f"{text}, part {self.part}" if self.part else text


@dataclass(frozen=True)
class Repainted:
    """A repainted image, of its job's size; `record` goes into the pair's record, `drops` into the summary."""

    image: NDArray[np.uint8]
    record: dict[str, Any] = field(default_factory=dict)
    drops: tuple[tuple[str, str], ...] = ()
    """(kind, reason) of whatever the engine had to give up on."""
    prompt: str | None = None
    """The prompt that the engine used in place of its job's; None: the job's."""


class Repainter(Protocol):
    """An engine, opened in one worker. An image's result depends on its job alone, not on its neighbours."""

    working_size: WorkingSize | None
    """None: the engine takes images of any size as they are."""

    batch_size: int
    """How many jobs of one padded size the engine likes to get at once."""

    def repaint(self, jobs: Sequence[RepaintJob]) -> list[Repainted]:
        """Repaint `jobs`, all of one size, at most `batch_size` of them; results in the same order."""

    def close(self) -> None:
        """Give back the model and its memory."""


@runtime_checkable
class StartsAhead(Protocol):
    """A repainter that a batch may be handed to while the device is at work on the one before."""

    def start(self, jobs: Sequence[RepaintJob]) -> Callable[[], list[Repainted]]:
        """Begin to repaint `jobs`, as in `Repainter.repaint`; calling the result waits for the images.

        Batches are started by one thread; the results may be asked for by another.
        """


@dataclass(frozen=True)
class EngineTraits:
    """What the making of pairs has to know of an engine.

    Attributes:
        repaints: whether it paints anything.
        only_holes: whether it leaves the moved image as it is and paints only around it. Where the moved image stays,
            every object of it is kept and labelled.
        outside: what it may be given where the moved image does not reach; the first is the default.
        uses_captions: whether the prompt decides anything.
        notes: what a run's summary says of it.
    """

    repaints: bool
    outside: tuple[Outside, ...]
    uses_captions: bool = False
    only_holes: bool = False
    notes: tuple[str, ...] = ()

    def labels(self, outside: Outside) -> Labels:
        """The rule by which second views are labelled."""
        if not self.repaints or self.only_holes:
            return Labels.ALL
        return Labels.KEPT if outside is Outside.COMPLETED else Labels.OVTRACK


class Engine(Protocol):
    """A picklable description of an engine, with its options: opened once per worker."""

    @property
    def name(self) -> str:
        """What `--engine` calls it."""

    @property
    def traits(self) -> EngineTraits:
        """What the making of pairs has to know of it."""

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the engine: options, model, hashes, versions. Equal means: equal images."""

    def open(self, device: str | None) -> Repainter:
        """Load what is needed onto `device`."""

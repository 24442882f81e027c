"""What a family of models says of itself; light, so that a folder can be looked at without torch."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ovforge.errors import InputError
from ovforge.options.base import option_names
from ovforge.options.diffusion import Cache, Defaults, DiffusionOptions, Preset, Sampler, SettledOptions

if TYPE_CHECKING:
    from ovforge.synthesis.diffusion.model_folder import ModelReport
    from ovforge.synthesis.repaint import Repainter

Configs = Mapping[str, Mapping[str, Any]]
"""Component -> its configuration; `model_index` -> the folder's index, `scheduler` -> the scheduler's."""

TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
"""The files of a tokenizer, of which one group is needed."""


@dataclass(frozen=True)
class Part:
    """One component of a model folder that is loaded.

    Attributes:
        classes: names of its class, of which the first that the installed library has is loaded.
        library: `diffusers` or `transformers`.
        tokens: for a tokenizer, the groups of files of which it needs one; empty for a network with weights.
    """

    classes: tuple[str, ...]
    library: str = "diffusers"
    tokens: tuple[tuple[str, ...], ...] = ()

    @property
    def stem(self) -> str:
        """The stem of its weight files."""
        return "diffusion_pytorch_model" if self.library == "diffusers" else "model"

    @property
    def pickle_stem(self) -> str:
        """The stem of its weight files where they are pickles."""
        return "diffusion_pytorch_model" if self.library == "diffusers" else "pytorch_model"


def network(*classes: str) -> Part:
    """A network of diffusers."""
    return Part(classes)


def text_encoder(*classes: str) -> Part:
    """A network of transformers."""
    return Part(classes, "transformers")


def tokenizer(*classes: str, files: tuple[tuple[str, ...], ...] = TOKENIZER_FILES[:2]) -> Part:
    """A tokenizer of transformers."""
    return Part(classes, "transformers", files)


class Family(abc.ABC):
    """One family of models: which folders are of it, what is in them, its defaults, and how it is opened."""

    name: ClassVar[str]
    """As the manifest calls it."""
    title: ClassVar[str]
    """As a person calls it."""
    indexes: ClassVar[frozenset[str]]
    """`_class_name` of the `model_index.json` of its folders."""
    parts: ClassVar[Mapping[str, Part]]
    """Component -> how it is loaded."""

    optional: ClassVar[frozenset[str]] = frozenset()
    """Components that a folder may be without, if its index says so."""

    def parts_of(self, index: Mapping[str, Any]) -> dict[str, Part]:
        """The components of a folder with this index."""
        without = {name for name in self.optional if name in index and not any(index[name] or ())}
        return {name: part for name, part in self.parts.items() if name not in without}

    def refuses(self, index: Mapping[str, Any]) -> str:
        """Why a folder with this index is not run; empty if it is."""
        del index
        return ""

    def title_of(self, configs: Configs) -> str:
        """What this folder holds, as a person calls it."""
        del configs
        return self.title

    def inpaints(self, configs: Configs) -> bool:
        """Whether the network also takes the mask and the masked image."""
        del configs
        return False

    @abc.abstractmethod
    def problems(self, configs: Configs) -> Sequence[str]:
        """What stands in the way of using a folder with these configurations, one line each."""

    @abc.abstractmethod
    def defaults(self, configs: Configs) -> Defaults:
        """What is chosen where nothing is given."""

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Preset -> the values of the options that it stands for."""
        del configs
        return {}

    def settle(self, options: DiffusionOptions, report: ModelReport) -> SettledOptions:
        """The options with this family's choices for what was not given.

        Raises:
            InputError: names an option that this family cannot do.
        """
        presets = self.presets(report.configs)
        if options.preset is not None and options.preset not in presets:
            raise self.refusal("preset", options.preset.value, "these weights have no presets", "leave it out")
        settled = options.settled(self.defaults(report.configs), presets)
        self.check(settled, report)
        return settled

    @abc.abstractmethod
    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Refuse what this family cannot do.

        Raises:
            InputError: names the option.
        """

    @abc.abstractmethod
    def plan(self, options: SettledOptions, report: ModelReport) -> dict[str, Any]:
        """What a run with these options does to each image, beyond the options: for the manifest."""

    @abc.abstractmethod
    def pipeline(self, configs: Configs) -> str:
        """The class of diffusers that repaints, or would."""

    @abc.abstractmethod
    def half(self) -> str:
        """The precision on a GPU where none is given: `fp16` or `bf16`."""

    @abc.abstractmethod
    def open(self, options: SettledOptions, report: ModelReport, device: str | None) -> Repainter:
        """Load the model onto `device`, or onto the one of the options if it is None."""

    def refusal(self, name: str, value: Any, why: str, hint: str = "") -> InputError:
        """The error for an option that this family cannot do."""
        shown = "" if value is True else f"={value}"
        return InputError(f"{_option(name)}{shown}: not for {self.title}: {why}", hint=hint)

    def refuse_changed(self, options: SettledOptions, names: Sequence[str], why: str) -> None:
        """Refuse options that were given another value than their default.

        Raises:
            InputError: names the first of them.
        """
        for name in names:
            value = getattr(options, name)
            if value != getattr(_UNTOUCHED, name):
                raise self.refusal(name, value, why, "leave it out")

    @property
    def caches(self) -> bool:
        """Whether blocks of its network can be extrapolated between steps."""
        return False

    def refuse_cache(self, options: SettledOptions) -> None:
        """Refuse a cache where there is none.

        Raises:
            InputError: names the option.
        """
        if options.cache is not Cache.NONE and not self.caches:
            why = "diffusers has no cache for its network"
            raise self.refusal("cache", options.cache.value, why, "leave it out")

    def refuse_sampler(self, options: SettledOptions, allowed: Sequence[Sampler]) -> None:
        """Refuse a sampler that is none of these.

        Raises:
            InputError: names it and those that there are.
        """
        if options.scheduler not in allowed:
            names = ", ".join(sampler.value for sampler in allowed)
            raise self.refusal("scheduler", options.scheduler.value, "it has no such sampler", f"there is {names}")


def step_presets(fast: int, balanced: int, best: int, **lossy: Any) -> dict[Preset, dict[str, Any]]:
    """Presets that differ in their steps, and in what else the fast one does."""
    return {Preset.FAST: {"steps": fast, **lossy}, Preset.BALANCED: {"steps": balanced}, Preset.BEST: {"steps": best}}


_UNTOUCHED = DiffusionOptions()


def _option(name: str) -> str:
    one = DiffusionOptions.__dataclass_fields__[name]
    return option_names(one)[0]

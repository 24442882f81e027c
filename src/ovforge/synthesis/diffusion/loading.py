"""Components loaded from a local folder, with one clear error for whatever is wrong with them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ovforge.errors import InputError, pip_line
from ovforge.files.safetensors_file import safetensors_shapes
from ovforge.options.diffusion import LoraFile
from ovforge.synthesis.diffusion.families import Part
from ovforge.synthesis.diffusion.lora import LoraReader, check_loras
from ovforge.synthesis.diffusion.model_folder import ComponentWeights, ModelReport


def load_component(
    folder: Path, part: Part, weights: ComponentWeights | None, dtype: torch.dtype, listed: Any = None
) -> Any:
    """Load one component from its folder; `weights` is None for a tokenizer.

    `listed` is what the folder's index says of it, [library, class]: followed where it is a class of `part`.

    Raises:
        InputError: it cannot be loaded, or its weights do not fit its configuration.
    """
    kind = _class_of(folder, part, str(listed[1]) if isinstance(listed, list) and len(listed) == 2 else "")
    if weights is None:
        with _explained(folder):
            return kind.from_pretrained(folder, local_files_only=True)
    options: dict[str, Any] = {
        # Understood by every release of the libraries that this package allows; the newer ones also say `dtype`.
        "torch_dtype": dtype,
        "use_safetensors": not weights.pickle,
        "variant": weights.variant or None,
        "local_files_only": True,
        # Asked for so that tensors of another shape are listed, and refused below by name.
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
    }
    with _explained(folder):
        model, info = kind.from_pretrained(folder, **options)
    # The libraries fill what is missing with random numbers and go on; an image made with those is worthless.
    unfit = sorted(str(key) for key in info["missing_keys"])
    unfit += sorted(str(key[0]) if isinstance(key, tuple) else str(key) for key in info["mismatched_keys"])
    if unfit:
        raise InputError(
            f"{folder}: the weights do not fit config.json: {len(unfit)} tensors are missing or of another shape,"
            f" e.g. {unfit[0]}",
            hint="copy the folder again from where the model came from",
        )
    return model


def pipeline_class(report: ModelReport) -> Any:
    """The pipeline of a folder's family.

    Raises:
        InputError: the folder is of no family that is run, or the installed diffusers has no such pipeline.
    """
    import diffusers

    if report.family is None:
        raise InputError(f"{report.folder}: not a model of a family that is run", hint="`ovforge doctor` names it")
    name = report.family.pipeline(report.configs)
    with quiet_libraries():  # diffusers imports a pipeline when it is asked for, and what that imports has remarks
        kind = getattr(diffusers, name, None)
    if kind is None:
        raise InputError(
            f"{report.folder}: {report.family.title} needs {name}, which diffusers {diffusers.__version__} has not",
            hint="`pip install -U diffusers`",
        )
    return kind


def lora_reader(report: ModelReport) -> LoraReader:
    """What reads LoRA files for the model of a folder.

    Raises:
        InputError: the installed diffusers has no pipeline for it.
    """
    from diffusers.configuration_utils import FrozenDict

    main = "unet" if "unet" in report.configs else "transformer"
    return LoraReader(
        list(report.weights),
        pipeline_class(report).lora_state_dict,
        main=main,
        config=FrozenDict(report.configs[main]),
        title=report.title,
    )


def check_lora_files(report: ModelReport, loras: Sequence[LoraFile]) -> None:
    """Refuse LoRA files that do not fit the model of a folder, without loading it.

    Raises:
        MissingInputError: a file is not there.
        InputError: names the file, the key and why it does not fit.
    """
    if not loras:
        return
    shapes: dict[str, dict[str, list[int]]] = {}
    for name, weights in report.weights.items():
        if weights.pickle:
            return  # what is in a pickle is known when it is loaded
        shapes[name] = {}
        for file in weights.files:
            shapes[name] |= safetensors_shapes(file)
    with quiet_libraries():
        check_loras(shapes, loras, lora_reader(report))


def _class_of(folder: Path, part: Part, listed: str) -> Any:
    names = sorted(part.classes, key=lambda name: name != listed)
    with _explained(folder):
        library = importlib.import_module(part.library)
        found = next((getattr(library, name) for name in names if hasattr(library, name)), None)
    if found is None:
        version = importlib.metadata.version(part.library)
        raise InputError(
            f"{folder}: {part.library} {version} has no {part.classes[0]}", hint=f"`pip install -U {part.library}`"
        )
    return found


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn whatever the libraries raise on a broken model folder into one clear error."""
    try:
        yield
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except ImportError as error:
        raise InputError(
            f"{folder}: a library is missing to load it ({error})", hint=f"`{pip_line('diffusion')}`"
        ) from error
    except Exception as error:  # loaders of three libraries, each with its own kinds of errors
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"{folder}: cannot be loaded: {reason}", hint="copy the folder again from where the model came from"
        ) from error


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars and no reports of the libraries on stderr: what matters in them is checked here."""
    import diffusers.utils.logging
    import transformers.utils.logging

    before = []
    for module in (diffusers.utils.logging, transformers.utils.logging):
        before.append((module, module.get_verbosity(), module.is_progress_bar_enabled()))
        module.set_verbosity_error()
        module.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what diffusers says to itself, on every call
            yield
    finally:
        for module, verbosity, has_bars in before:
            module.set_verbosity(verbosity)
            if has_bars:
                module.enable_progress_bar()

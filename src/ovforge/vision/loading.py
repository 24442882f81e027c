"""Loading what is in a model folder: networks and tokenizers, from this machine only."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ovforge.errors import InputError
from ovforge.options.vision import VisionOptions
from ovforge.runs.plan import InputFile, input_file
from ovforge.vision.devices import torch_dtype
from ovforge.vision.model_folder import VisionFolder

if TYPE_CHECKING:
    import torch

SHOWN = 3
_OPTIONAL_WEIGHTS = ("position_ids", "logit_scale", "logit_bias")
"""Weights that older files have or lack and that no feature depends on."""


def load_network(found: VisionFolder, options: VisionOptions, device: torch.device, make: Callable[..., Any]) -> Any:
    """Load a network for inference; `make` is a `from_pretrained`.

    Raises:
        InputError: the files do not fit each other; names the folder and the reason.
    """
    with _quiet():
        try:
            network, report = make(
                found.folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch_dtype(options.dtype),
                output_loading_info=True,
            )
        except Exception as error:  # the libraries raise whatever they like; the user's file is the reason
            raise InputError(
                f"{found.folder}: {found.title} cannot be loaded ({_one_line(error)})",
                hint="copy the folder again from where the model came from",
            ) from error
    # A weight that is missing would be made up at random, with no more than a warning.
    missing = sorted(key for key in report.get("missing_keys", ()) if not key.endswith(_OPTIONAL_WEIGHTS))
    mismatched = sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing or mismatched:
        names = (missing or mismatched)[:SHOWN]
        more = f" and {len(missing or mismatched) - SHOWN:,} more" if len(missing or mismatched) > SHOWN else ""
        what = "missing in the weights" if missing else "of another shape than config.json says"
        raise InputError(
            f"{found.folder}: {', '.join(names)}{more} {what}",
            hint="the weights are not those of this config.json; copy the folder again",
        )
    return network.requires_grad_(False).eval().to(device)


def load_tokenizer(found: VisionFolder) -> Any:
    """Load the folder's tokenizer.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with _quiet():
        try:
            return AutoTokenizer.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # see load_network
            raise InputError(
                f"{found.folder}: its tokenizer cannot be loaded ({_one_line(error)})",
                hint="a tokenizer.json needs no further library; spiece.model needs `pip install sentencepiece`",
            ) from error


def describe_model(found: VisionFolder, options: VisionOptions) -> dict[str, Any]:
    """What decides a model's features, as JSON values: its type, its files by hash, its number format."""
    files: dict[str, InputFile] = {path.name: input_file(path) for path in found.weights}
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        if (found.folder / name).is_file():
            files[name] = input_file(found.folder / name)
    return {
        "model": found.model_type,
        "name": found.folder.resolve().name,
        "files": {name: file.sha256 for name, file in sorted(files.items())},
        "dtype": options.dtype.value,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no warnings of libraries: what matters is raised as an error."""
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]

"""Features of images and texts by one loaded model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.devices import resolve_device
from ovforge.options.vision import VisionOptions
from ovforge.vision.devices import check_libraries
from ovforge.vision.loading import load_network, load_tokenizer
from ovforge.vision.model_folder import IMAGE, TEXT, check_vision_folder, preprocessor_config
from ovforge.vision.preprocessing import Inputs, Preprocessor, make_preprocessor

Features = NDArray[np.float32]

_CLIP_TOKENS = 77
_TEXTS_AT_ONCE = 256


class FeatureModel:
    """A model that gives features: of images, and, where it reads them, of texts.

    Features are float32 (n, dimension), as the model projects them: not normalised.
    """

    def __init__(self, options: VisionOptions, *, device: str | None = None, use: str = IMAGE) -> None:
        """Load the model.

        Args:
            device: in place of the options' device, where a run says which one a worker has.
            use: what it is wanted for, `image` or `text`; a model that does both is loaded for both.

        Raises:
            MissingInputError, InputError: the folder cannot be used; says why.
            MissingExtraError: a library is not installed.
        """
        check_libraries()
        from transformers import AutoModel

        self.found = check_vision_folder(options.folder, use)
        self.options = options
        self.device = resolve_device(device or options.device)
        self.preprocessor: Preprocessor = make_preprocessor(
            options.folder, self.found.model_type, preprocessor_config(options.folder)
        )
        self._network = load_network(self.found, options, self.device, AutoModel.from_pretrained)
        self._tokenizer = load_tokenizer(self.found) if TEXT in self.found.uses else None

    def embed(self, prepared: Sequence[Inputs]) -> Features:
        """Features of images that `preprocessor` has prepared, in one batch."""
        import torch

        tensors = {key: self._tensor(value) for key, value in self.preprocessor.collate(prepared).items()}
        with torch.inference_mode():
            if TEXT in self.found.uses or hasattr(self._network, "get_image_features"):
                out = self._network.get_image_features(**tensors)
            else:
                out = self._network(**tensors)
            return _as_numpy(out)

    def embed_images(self, images: Iterable[NDArray[np.uint8]]) -> Features:
        """Features of images, uint8 RGB (height, width, 3), batch by batch."""
        parts = [self.embed([self.preprocessor(image) for image in batch]) for batch in _batches(images, self.batch)]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Features:
        """Features of texts; what is longer than the model reads is cut off, as in Detic and MM-OVOD.

        Raises:
            InputError: the model reads no texts.
        """
        import torch

        if self._tokenizer is None:
            check_vision_folder(self.found.folder, TEXT)
        parts = []
        for batch in _batches(texts, _TEXTS_AT_ONCE):
            tokens = self._tokenize(list(batch))
            with torch.inference_mode():
                parts.append(_as_numpy(self._network.get_text_features(**tokens)))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    @property
    def batch(self) -> int:
        """Images at once."""
        return self.options.batch

    def _tokenize(self, texts: list[str]) -> dict[str, Any]:
        tokenizer: Any = self._tokenizer
        text_config = getattr(self._network.config, "text_config", None)
        longest = int(getattr(text_config, "max_position_embeddings", _CLIP_TOKENS))
        if self.found.model_type.startswith("siglip"):
            # SigLIP was trained on lower case, padded to its full length, and attends to the padding.
            tokens = tokenizer(
                [text.lower() for text in texts],
                padding="max_length",
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            return {"input_ids": tokens["input_ids"].to(self.device)}
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return {key: tokens[key].to(self.device) for key in ("input_ids", "attention_mask")}

    def _tensor(self, array: NDArray[Any]) -> Any:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        tensor = tensor.to(self.device, non_blocking=True)
        return tensor.to(self._network.dtype) if tensor.is_floating_point() else tensor


def _as_numpy(out: Any) -> Features:
    # Releases before transformers 5 gave the features themselves.
    tensor = out if hasattr(out, "cpu") else out.pooler_output
    return np.asarray(tensor.float().cpu().numpy(), np.float32)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

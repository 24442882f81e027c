"""Tiny vision models for tests: the real classes of transformers, random weights from a fixed seed, saved to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = (
    "a", "photo", "of", "the", "cat", "dog", "cup", "person", "banana", "zebra", "street", "sign", "red", "small",
)  # fmt: skip
DIMENSION = 16
SIDE = 32
_VISION = {
    "hidden_size": DIMENSION,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}
_TEXT = {
    "hidden_size": DIMENSION,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}


def build_tiny_vision_model(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write a model of `kind` to `folder`: clip, siglip, siglip2, dinov2, dinov3_vit, owlv2 or grounding-dino."""
    import torch

    vocabulary = write_tokenizer(folder) if not kind.startswith("dinov") else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _BUILDERS[kind](vocabulary)
        # As initialised, tiny towers hardly tell images apart; as trained, they do.
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed" not in name:
                parameter.data.normal_(0, 0.2)
            elif "embed" in name:
                parameter.data.normal_(0, 0.5)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS[kind]))
    return folder


def write_tokenizer(folder: Path) -> int:
    """A tokenizer of whole words; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("<pad>", "<unk>", "<start>", ".")
    tokens = [*special, *WORDS, "<end>"]  # CLIP pools at its largest id
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", vocabulary["<start>"]), ("<end>", vocabulary["<end>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        cls_token="<start>", sep_token="<end>", model_max_length=16,
    ).save_pretrained(folder)  # fmt: skip
    return len(vocabulary)


def _clip(vocabulary: int) -> Any:
    from transformers import CLIPConfig, CLIPModel

    text = {**_TEXT, "vocab_size": vocabulary, "eos_token_id": vocabulary - 1, "bos_token_id": 2, "pad_token_id": 0}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=DIMENSION))


def _siglip(vocabulary: int) -> Any:
    from transformers import SiglipConfig, SiglipModel

    return SiglipModel(SiglipConfig(text_config={**_TEXT, "vocab_size": vocabulary}, vision_config=_VISION))


def _siglip2(vocabulary: int) -> Any:
    from transformers import Siglip2Config, Siglip2Model

    vision = {key: value for key, value in _VISION.items() if key != "image_size"} | {"num_patches": 16}
    return Siglip2Model(Siglip2Config(text_config={**_TEXT, "vocab_size": vocabulary}, vision_config=vision))


def _dinov2(vocabulary: int) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(
        Dinov2Config(
            hidden_size=DIMENSION,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=8,
            mlp_ratio=2,
        )
    )


def _dinov3(vocabulary: int) -> Any:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    return DINOv3ViTModel(DINOv3ViTConfig(**_VISION))


def _owlv2(vocabulary: int) -> Any:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    text = {**_TEXT, "vocab_size": vocabulary, "eos_token_id": vocabulary - 1, "bos_token_id": 2, "pad_token_id": 0}
    vision = {**_VISION, "image_size": 64, "patch_size": 16}
    return Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=DIMENSION))


def _grounding_dino(vocabulary: int) -> Any:
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    backbone = SwinConfig(
        image_size=32, window_size=2, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2],
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=vocabulary, hidden_size=DIMENSION, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    return GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            num_queries=10,
        )
    )  # fmt: skip


_BUILDERS = {
    "clip": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "dinov2": _dinov2,
    "dinov3_vit": _dinov3,
    "owlv2": _owlv2,
    "grounding-dino": _grounding_dino,
}
_CLIP_NORM = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
_IMAGENET_NORM = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALF_NORM = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_COMMON = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
_CROPPED = {"do_center_crop": True, "crop_size": {"height": SIDE, "width": SIDE}}
PREPROCESSORS: dict[str, dict[str, Any]] = {
    "clip": {
        **_COMMON, **_CLIP_NORM, **_CROPPED, "image_processor_type": "CLIPImageProcessor",
        "resample": 3, "size": {"shortest_edge": SIDE},
    },
    "siglip": {
        **_COMMON, **_HALF_NORM, "image_processor_type": "SiglipImageProcessor",
        "resample": 3, "size": {"height": SIDE, "width": SIDE},
    },
    "siglip2": {
        **_COMMON, **_HALF_NORM, "image_processor_type": "Siglip2ImageProcessor",
        "resample": 2, "patch_size": 8, "max_num_patches": 16,
    },
    "dinov2": {
        **_COMMON, **_IMAGENET_NORM, **_CROPPED, "image_processor_type": "BitImageProcessor",
        "resample": 3, "size": {"shortest_edge": 40},
    },
    "dinov3_vit": {
        **_COMMON, **_IMAGENET_NORM, "image_processor_type": "DINOv3ViTImageProcessorFast",
        "resample": 2, "size": {"height": SIDE, "width": SIDE},
    },
    "owlv2": {
        **_COMMON, **_CLIP_NORM, "image_processor_type": "Owlv2ImageProcessor",
        "resample": 2, "do_pad": True, "size": {"height": 64, "width": 64},
    },
    "grounding-dino": {
        **_COMMON, **_IMAGENET_NORM, "image_processor_type": "GroundingDinoImageProcessor",
        "resample": 2, "do_pad": True, "size": {"shortest_edge": 64, "longest_edge": 96},
    },
}  # fmt: skip

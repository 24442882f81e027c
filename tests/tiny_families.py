"""Tiny models of every family for tests: the real classes and file layout, random weights from a fixed seed.

Everything is as small as the classes allow, but for what decides sizes: the VAE's 8 pixels a cell, the packing of
cells, the number of U-Net blocks. A folder takes a second or two to write.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

WIDTH = 16
"""Of every text encoder."""
FLOW = {"num_train_timesteps": 1000, "shift": 3.0}
DYNAMIC = {**FLOW, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
"""As FLUX's: shifted more the more cells there are."""
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_family(folder: Path, kind: str, **changes: Any) -> Path:
    """Write the tiny model of one of `KINDS` to `folder` in diffusers' layout and return it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        KINDS[kind](folder, **changes)
    return folder


def _stable_diffusion_xl(folder: Path, *, in_channels: int = 4, scheduler: Any = None) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=(1, 2, 2),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH,
        cross_attention_dim=2 * WIDTH,
    )
    texts = _clip_parts(folder, projected=False) | _clip_parts(folder, "_2", projected=True)
    scale = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    StableDiffusionXLPipeline(
        vae=_vae(4, scaling_factor=0.13025),
        unet=unet,
        scheduler=scheduler or EulerDiscreteScheduler(**scale, timestep_spacing="leading"),
        add_watermarker=False,
        **texts,
    ).save_pretrained(folder)


def _stable_diffusion_3(folder: Path, *, t5: bool = True) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=16,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    texts = _clip_parts(folder, projected=True) | _clip_parts(folder, "_2", projected=True)
    StableDiffusion3Pipeline(
        transformer=transformer,
        vae=_vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW),
        **texts,
        **(_t5_parts("_3", 2 * WIDTH) if t5 else {"text_encoder_3": None, "tokenizer_3": None}),
    ).save_pretrained(folder)


def _flux(folder: Path, *, pipeline: str = "FluxPipeline", in_channels: int = 64, guidance: bool = True) -> None:
    import diffusers

    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        out_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
    )
    getattr(diffusers, pipeline)(
        transformer=transformer,
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**(DYNAMIC if guidance else FLOW)),
        **_clip_parts(folder, projected=False),
        **_t5_parts("_2", WIDTH),
    ).save_pretrained(folder)


def _flux2(folder: Path, *, is_distilled: bool = True) -> None:
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )

    transformer = Flux2Transformer2DModel(
        in_channels=4 * 8,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(block_out_channels=(8, 8, 8, 8), latent_channels=8, layers_per_block=1, norm_num_groups=4)
    Flux2KleinPipeline(
        transformer=transformer,
        vae=_lively(vae),
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC),
        is_distilled=is_distilled,
        **_qwen3_parts(layers=28),  # the pipeline takes the states of its 9th, 18th and 27th layer
    ).save_pretrained(folder)


def _qwen_image(folder: Path) -> None:
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        **{f"{name}_token_id": None for name in ("bos", "eos", "pad")},
    }
    vision = {
        "depth": 1,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))
    encoder.get_input_embeddings().weight.data.normal_(0, 1)
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.0, 1.5, 0.8, 1.2],
    )
    QwenImagePipeline(
        transformer=transformer,
        vae=_lively(vae),
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC),
        text_encoder=encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)


def _z_image(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    ZImagePipeline(
        transformer=transformer,
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW),
        **_qwen3_parts(layers=2),
    ).save_pretrained(folder)


def _vae(channels: int, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        **more,
    )
    return _lively(vae)


def _lively(vae: Any) -> Any:
    """Decode to images with some contrast: left as initialised, they are all grey."""
    decoder = vae.decoder
    (decoder.conv_out if hasattr(decoder, "conv_out") else decoder.conv_norm_out).weight.data *= 3
    return vae


def _clip_parts(folder: Path, number: str = "", *, projected: bool) -> dict[str, Any]:
    """A text encoder of CLIP and its tokenizer, by their names in a pipeline."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    vocabulary = _stable_diffusion().write_tokenizer(folder / f"tokenizer{number}")
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=WIDTH,
        bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=vocabulary["<|endoftext|>"],
        pad_token_id=vocabulary["<|endoftext|>"],
    )
    encoder = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    # Left as initialised, embeddings hardly differ between prompts.
    encoder.get_input_embeddings().weight.data.normal_(0, 1)
    tokenizer = CLIPTokenizer.from_pretrained(folder / f"tokenizer{number}")
    return {f"text_encoder{number}": encoder, f"tokenizer{number}": tokenizer}


def _t5_parts(number: str, width: int) -> dict[str, Any]:
    """A text encoder of T5 and its tokenizer of single letters."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    letters = " ▁abcdefghijklmnopqrstuvwxyz.,"
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((letter, -2.0) for letter in letters)]
    tokenizer = T5TokenizerFast(vocab=vocabulary, extra_ids=0)
    config = T5Config(
        vocab_size=len(vocabulary), d_model=width, d_kv=8, d_ff=2 * width, num_layers=1, num_heads=2, use_cache=False
    )
    return {f"text_encoder{number}": T5EncoderModel(config), f"tokenizer{number}": tokenizer}


def _qwen_tokenizer() -> Any:
    """A tokenizer of Qwen of single bytes, with a chat's special tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    vocabulary |= {name: len(vocabulary) + number for number, name in enumerate(["<|endoftext|>", *special])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], additional_special_tokens=special, model_max_length=2048)
    tokenizer.chat_template = CHAT
    return tokenizer


def _qwen3_parts(layers: int) -> dict[str, Any]:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _qwen_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    encoder = Qwen3ForCausalLM(config)
    encoder.get_input_embeddings().weight.data.normal_(0, 1)
    return {"text_encoder": encoder, "tokenizer": tokenizer}


def _stable_diffusion() -> Any:
    path = Path(__file__).with_name("tiny_stable_diffusion.py")
    spec = importlib.util.spec_from_file_location("tiny_stable_diffusion", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KINDS = {
    "stable-diffusion": lambda folder, **changes: _stable_diffusion().build_tiny_stable_diffusion(folder, **changes),
    "stable-diffusion-xl": _stable_diffusion_xl,
    "stable-diffusion-xl-inpainting": lambda folder: _stable_diffusion_xl(folder, in_channels=9),
    "stable-diffusion-3": _stable_diffusion_3,
    "flux-dev": _flux,
    "flux-schnell": lambda folder: _flux(folder, guidance=False),
    "flux-fill": lambda folder: _flux(folder, pipeline="FluxFillPipeline", in_channels=384),
    "flux-kontext": lambda folder: _flux(folder, pipeline="FluxKontextPipeline"),
    "flux2-klein": _flux2,
    "qwen-image": _qwen_image,
    "z-image": _z_image,
}
"""Kind of folder -> what writes it."""

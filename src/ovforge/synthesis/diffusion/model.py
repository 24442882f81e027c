"""A Stable Diffusion model, loaded from a local folder: text in, latents in and out, images in and out."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ovforge.errors import WorkError
from ovforge.options.diffusion import LoraFile, Precision
from ovforge.synthesis.diffusion.device import DTYPES, resolve_precision
from ovforge.synthesis.diffusion.families.stable_diffusion import StableDiffusionFamily
from ovforge.synthesis.diffusion.latents import CELL
from ovforge.synthesis.diffusion.loading import load_component, lora_reader, quiet_libraries
from ovforge.synthesis.diffusion.lora import add_loras
from ovforge.synthesis.diffusion.model_folder import check_model_folder, read_config
from ovforge.synthesis.diffusion.sampling import NoisePredictor
from ovforge.synthesis.diffusion.schedule import NoiseScale
from ovforge.synthesis.diffusion.transfer import sent

COMPILED_LATENTS = frozenset({(64, 88), (64, 96), (64, 48)})
"""Latent sizes (height, width) that `--compile` compiles for: COCO's 640x480, 640x427 and both upright, in 768x512.

Compiling takes about a minute a size; the rare sizes run uncompiled. The list is fixed, so that an image's way
through the model depends on its size alone.
"""

_PROMPTS_REMEMBERED = 256


class StableDiffusion:
    """The components of one model on one device.

    Images are float32 (B, 3, H, W) in [-1, 1]; latents float32 (B, 4, H / 8, W / 8), scaled by the VAE's factor.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device,
        precision: Precision,
        allow_pickle: bool = False,
        compile_unet: bool = False,
        vae_tiling: bool = False,
        cpu_offload: bool = False,
        loras: Sequence[LoraFile] = (),
    ) -> None:
        """Load the model, with LoRA files added to its weights.

        Raises:
            InputError: the folder or a LoRA file cannot be used; names it and the reason.
        """
        report = check_model_folder(folder, allow_pickle=allow_pickle)
        self.folder = folder
        self.device = device
        self.dtype = DTYPES[resolve_precision(precision, device)]
        # Channels-last suits a GPU's half-precision kernels; on the CPU, GroupNorm over it loses 1e-3 of accuracy.
        self._layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self._home = torch.device("cpu") if cpu_offload else device
        self.inpainting = report.inpainting
        parts = StableDiffusionFamily.parts
        with quiet_libraries():
            self.tokenizer = load_component(folder / "tokenizer", parts["tokenizer"], None, self.dtype)
            components = {
                name: load_component(folder / name, parts[name], weights, self.dtype)
                for name, weights in sorted(report.weights.items())
            }
            if loras:
                add_loras(components, loras, lora_reader(report))
        for component in components.values():
            component.requires_grad_(False).eval().to(self._home)
        self.text_encoder, self.unet, self.vae = (components[name] for name in ("text_encoder", "unet", "vae"))
        self.unet.to(memory_format=self._layout)
        self.vae.to(memory_format=self._layout)
        if vae_tiling:
            self.vae.enable_tiling()
        self.noise_scale = NoiseScale.from_config(
            read_config(folder / "scheduler" / "scheduler_config.json"), where=f"{folder}/scheduler"
        )
        self._scaling = float(self.vae.config.scaling_factor)
        self._compiled_unet: Callable[..., Any] | None = (
            torch.compile(self.unet, dynamic=False) if compile_unet else None
        )
        self._texts: OrderedDict[str, torch.Tensor] = OrderedDict()

    @property
    def image_multiple(self) -> int:
        """An image's sides must be multiples of this: the VAE's 8, times the U-Net's halvings."""
        return CELL * int(2 ** (len(self.unet.config.down_block_types) - 1))

    @property
    def _prompt_tokens(self) -> int:
        """How long a prompt may be: what the text encoder has positions for, whatever the tokenizer's files say."""
        return int(min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings))

    def encode_text(self, prompt: str) -> torch.Tensor:
        """The prompt's embedding (1, tokens, width). Encoded alone and once, so it never depends on other prompts."""
        if prompt in self._texts:
            self._texts.move_to_end(prompt)
            return self._texts[prompt]
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            max_length=self._prompt_tokens,
            truncation=True,
            return_tensors="pt",
        )
        inputs = {"input_ids": sent(tokens.input_ids, self.device)}
        if getattr(self.text_encoder.config, "use_attention_mask", None):
            inputs["attention_mask"] = sent(tokens.attention_mask, self.device)
        with self._resident(self.text_encoder) as encoder:
            embedding: torch.Tensor = encoder(**inputs, return_dict=True).last_hidden_state
        self._texts[prompt] = embedding
        if len(self._texts) > _PROMPTS_REMEMBERED:
            self._texts.popitem(last=False)
        return embedding

    def encode_images(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the VAE's posterior, scaled as latents are."""
        with self._resident(self.vae) as vae:
            posterior = vae.encode(self._as_input(images)).latent_dist
        return posterior.mean.float() * self._scaling, posterior.std.float() * self._scaling

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Images as float32 in [0, 255], unrounded and not clipped; not finite where decoding overflowed."""
        with self._resident(self.vae) as vae:
            images = vae.decode(self._as_input(latents / self._scaling), return_dict=False)[0]
        return (images.float() / 2 + 0.5) * 255

    @contextlib.contextmanager
    def noise_predictor(self, mask_channels: torch.Tensor | None = None) -> Iterator[NoisePredictor]:
        """The U-Net for the sampling loop.

        `mask_channels`, float32 (B, 5, h, w), are the further inputs of a nine-channel inpainting U-Net: its mask
        (1 is repainted) and the latents of the masked image.
        """
        with self._resident(self.unet) as unet:

            def predict(latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
                inputs = latents
                if mask_channels is not None:
                    # Guidance doubles the rows: the same images without and with their prompt.
                    copies = latents.shape[0] // mask_channels.shape[0]
                    inputs = torch.cat((latents, mask_channels.repeat(copies, 1, 1, 1)), dim=1)
                run = self._compiled(latents) or unet
                prediction: torch.Tensor = run(
                    self._as_input(inputs), timestep, encoder_hidden_states=text, return_dict=False
                )[0]
                return prediction.float()

            yield predict

    def close(self) -> None:
        """Give back the model and its memory."""
        self.unet = self.vae = self.text_encoder = self._compiled_unet = None
        self._texts.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _as_input(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.dtype).contiguous(memory_format=self._layout)

    def _compiled(self, latents: torch.Tensor) -> Callable[..., Any] | None:
        compiled = self._compiled_unet
        if compiled is None or tuple(latents.shape[-2:]) not in COMPILED_LATENTS:
            return None

        def run(*arguments: Any, **options: Any) -> Any:
            try:
                return compiled(*arguments, **options)
            except torch._dynamo.exc.TorchDynamoException as error:
                first_line = str(error).strip().splitlines()[0]
                raise WorkError(
                    f"torch.compile failed: {first_line}", hint="install a C++ compiler, or run without --compile"
                ) from error

        return run

    @contextlib.contextmanager
    def _resident(self, component: Any) -> Iterator[Any]:
        """Have a component on the device while it is needed; with `cpu_offload` it goes back afterwards."""
        if self._home == self.device:
            yield component
            return
        component.to(self.device)
        try:
            yield component
        finally:
            component.to(self._home)

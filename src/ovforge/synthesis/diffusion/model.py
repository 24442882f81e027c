"""A Stable Diffusion model, loaded from a local folder: text in, latents in and out, images in and out."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ovforge.errors import InputError, WorkError, pip_line
from ovforge.options.diffusion import Precision
from ovforge.parallel import cpu_count
from ovforge.synthesis.diffusion.latents import CELL
from ovforge.synthesis.diffusion.model_folder import ComponentWeights, check_model_folder, read_config
from ovforge.synthesis.diffusion.sampling import NoisePredictor
from ovforge.synthesis.diffusion.schedule import NoiseScale

COMPILED_LATENTS = frozenset({(64, 88), (64, 96), (64, 48)})
"""Latent sizes (height, width) that `--compile` compiles for: COCO's 640x480, 640x427 and both upright, in 768x512.

Compiling takes about a minute a size; the rare sizes run uncompiled. The list is fixed, so that an image's way
through the model depends on its size alone.
"""

_PROMPTS_REMEMBERED = 256
_DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


def resolve_device(device: str) -> torch.device:
    """`auto` becomes the first GPU if there is one, the CPU otherwise.

    Raises:
        InputError: no such device on this machine.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        found = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device={device}: no device of this name", hint="cpu, cuda, cuda:1, or auto") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device={device}: this machine has {torch.cuda.device_count()} usable GPUs",
            hint="--device=cpu runs without one; check the driver and that torch is built for CUDA",
        )
    if found.type not in _SUPPORTED:
        raise InputError(f"--device={device}: not a device this engine runs on", hint=f"here it is {_devices()}")
    if not _SUPPORTED[found.type]():
        raise InputError(
            f"--device={device}: torch {torch.__version__} has no such device on this machine",
            hint=f"here it is {_devices()}",
        )
    return found


_SUPPORTED: dict[str, Callable[[], bool]] = {
    "cpu": lambda: True,
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "xpu": lambda: hasattr(torch, "xpu") and torch.xpu.is_available(),
}


def _devices() -> str:
    """The devices of this machine, as `--device` names them."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *gpus, *(name for name in ("mps", "xpu") if _SUPPORTED[name]())]) + ", or auto"


def resolve_threads(threads: int | None, device: torch.device) -> int | None:
    """How many threads the networks use: None where they run on a GPU, one per core of this process if not given."""
    if device.type != "cpu":
        return None
    if threads is not None:
        return threads
    return cpu_count()


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """`auto` becomes fp16 on a GPU and fp32 on the CPU, where half precision is slower."""
    if precision is Precision.AUTO:
        return Precision.FP32 if device.type == "cpu" else Precision.FP16
    return precision


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
    ) -> None:
        """Load the model.

        Raises:
            InputError: the folder cannot be used; names the folder and the reason.
        """
        report = check_model_folder(folder, allow_pickle=allow_pickle)
        self.folder = folder
        self.device = device
        self.dtype = _DTYPES[resolve_precision(precision, device)]
        # Channels-last suits a GPU's half-precision kernels; on the CPU, GroupNorm over it loses 1e-3 of accuracy.
        self._layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self._home = torch.device("cpu") if cpu_offload else device
        self.inpainting = report.inpainting
        with _quiet_libraries():
            self.tokenizer = _load_tokenizer(folder / "tokenizer")
            components = {
                name: _load(name, folder / name, weights, self.dtype)
                for name, weights in sorted(report.weights.items())
            }
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
        inputs = {"input_ids": tokens.input_ids.to(self.device)}
        if getattr(self.text_encoder.config, "use_attention_mask", None):
            inputs["attention_mask"] = tokens.attention_mask.to(self.device)
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


def _load_tokenizer(folder: Path) -> Any:
    with _explained(folder):
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _load(name: str, folder: Path, weights: ComponentWeights, dtype: torch.dtype) -> Any:
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
        if name == "text_encoder":
            from transformers import CLIPTextModel

            model, info = CLIPTextModel.from_pretrained(folder, **options)
        else:
            from diffusers import AutoencoderKL, UNet2DConditionModel

            kind = UNet2DConditionModel if name == "unet" else AutoencoderKL
            model, info = kind.from_pretrained(folder, low_cpu_mem_usage=False, **options)
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
def _quiet_libraries() -> Iterator[None]:
    """No progress bars and no loading reports on stderr: what matters in them is checked here."""
    import diffusers.utils.logging
    import transformers.utils.logging

    before = []
    for module in (diffusers.utils.logging, transformers.utils.logging):
        before.append((module, module.get_verbosity()))
        module.set_verbosity_error()
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module, verbosity in before:
            module.set_verbosity(verbosity)
            module.enable_progress_bar()

"""LoRA files: added to the right layers by the right amount, in every naming; refused by key and shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ovforge.errors import InputError, MissingInputError
from ovforge.options.diffusion import DiffusionOptions, LoraFile, parse_lora
from ovforge.synthesis.diffusion import DiffusionEngine, engine_from_description
from ovforge.synthesis.repaint import RepaintJob

QUICK: dict[str, Any] = {"steps": 3, "device": "cpu", "cpu_threads": 1, "width": 64, "height": 64}
RANK = 2
UNET_LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT_LAYER = "encoder.layers.0.self_attn.q_proj"


def _matrices(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, RANK, generator=generator), torch.randn(RANK, columns, generator=generator)


UP, DOWN = _matrices(16, 16)
TEXT_UP, TEXT_DOWN = _matrices(16, 16, seed=1)


def _diffusers(alpha: float | None) -> dict[str, torch.Tensor]:
    del alpha
    return {
        f"unet.{UNET_LAYER}.lora_A.weight": DOWN,
        f"unet.{UNET_LAYER}.lora_B.weight": UP,
        f"text_encoder.text_model.{TEXT_LAYER}.lora_A.weight": TEXT_DOWN,
        f"text_encoder.text_model.{TEXT_LAYER}.lora_B.weight": TEXT_UP,
    }


def _older_diffusers(alpha: float | None) -> dict[str, torch.Tensor]:
    del alpha
    block, _, _ = UNET_LAYER.rpartition(".")
    text, _, _ = TEXT_LAYER.rpartition(".")
    return {
        f"unet.{block}.processor.to_q_lora.down.weight": DOWN,
        f"unet.{block}.processor.to_q_lora.up.weight": UP,
        f"text_encoder.text_model.{text}.q_proj.lora_linear_layer.down.weight": TEXT_DOWN,
        f"text_encoder.text_model.{text}.q_proj.lora_linear_layer.up.weight": TEXT_UP,
    }


def _kohya(alpha: float | None) -> dict[str, torch.Tensor]:
    unet, text = UNET_LAYER.replace(".", "_"), f"text_model.{TEXT_LAYER}".replace(".", "_")
    tensors = {
        f"lora_unet_{unet}.lora_down.weight": DOWN,
        f"lora_unet_{unet}.lora_up.weight": UP,
        f"lora_te_{text}.lora_down.weight": TEXT_DOWN,
        f"lora_te_{text}.lora_up.weight": TEXT_UP,
    }
    if alpha is not None:
        tensors |= {f"lora_unet_{unet}.alpha": torch.tensor(alpha), f"lora_te_{text}.alpha": torch.tensor(alpha)}
    return tensors


@pytest.mark.parametrize(
    ("naming", "alpha", "scale"),
    [(_diffusers, None, 1.0), (_older_diffusers, None, 1.0), (_kohya, None, 1.0), (_kohya, 1.0, 0.5)],
)
def test_a_lora_is_added_in_every_naming(
    tiny_family: Callable[[str], Path], tmp_path: Path, naming: Callable[..., Any], alpha: float | None, scale: float
) -> None:
    file = tmp_path / "style.safetensors"
    save_file(naming(alpha), file)
    plain = DiffusionEngine(DiffusionOptions(model=tiny_family("stable-diffusion"), **QUICK)).open(None).model
    options = DiffusionOptions(model=tiny_family("stable-diffusion"), lora=(f"{file}:0.5",), **QUICK)
    changed = DiffusionEngine(options).open(None).model
    for name in ("unet", "text_encoder", "vae"):
        before, after = getattr(plain, name).state_dict(), getattr(changed, name).state_dict()
        for key, tensor in before.items():
            expected = tensor
            if name == "unet" and key == f"{UNET_LAYER}.weight":
                expected = tensor + 0.5 * scale * UP @ DOWN
            if name == "text_encoder" and key.removeprefix("text_model.") == f"{TEXT_LAYER}.weight":
                expected = tensor + 0.5 * scale * TEXT_UP @ TEXT_DOWN
            torch.testing.assert_close(after[key], expected, msg=f"{name}.{key}")


def test_alpha_from_a_trainers_metadata(tiny_family: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "style.safetensors"
    metadata = {"unet.lora_alpha": 4, "unet.r": RANK, "text_encoder.lora_alpha": 1}
    save_file(_diffusers(None), file, metadata={"lora_adapter_metadata": json.dumps(metadata)})
    plain = DiffusionEngine(DiffusionOptions(model=tiny_family("stable-diffusion"), **QUICK)).open(None).model
    options = DiffusionOptions(model=tiny_family("stable-diffusion"), lora=(str(file),), **QUICK)
    changed = DiffusionEngine(options).open(None).model
    before, after = (one.unet.get_submodule(UNET_LAYER).weight for one in (plain, changed))
    torch.testing.assert_close(after, before + 2 * UP @ DOWN)


LAYERS = {
    "stable-diffusion-xl": ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", 16),
    "stable-diffusion-3": ("transformer.transformer_blocks.0.attn.to_q", 16),
    "flux-dev": ("transformer.transformer_blocks.0.attn.to_q", 32),
    "flux-fill": ("transformer.transformer_blocks.0.attn.to_q", 32),
    "flux2-klein": ("transformer.transformer_blocks.0.attn.to_q", 32),
    "qwen-image": ("transformer.transformer_blocks.0.attn.to_q", 32),
    "z-image": ("transformer.layers.0.attention.to_q", 32),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_lora_changes_the_images_of_every_family(
    tiny_family: Callable[[str], Path], tmp_path: Path, make_job: Callable[..., RepaintJob], kind: str
) -> None:
    layer, width = LAYERS[kind]
    up, down = _matrices(width, width)
    file = tmp_path / "style.safetensors"
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, file)
    images = []
    for lora in ((), (str(file),)):
        engine = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), lora=lora, **QUICK))
        described = engine.describe()
        assert [one["weight"] for one in described["lora"]] == [1.0] * len(lora)
        assert engine_from_description(described).describe() == described
        images.append(engine.open(None).repaint([make_job(1)])[0].image)
    assert not np.array_equal(*images)


def test_a_lora_of_another_model_is_refused_by_its_key(tiny_family: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "style.safetensors"

    def refusal(tensors: dict[str, torch.Tensor], kind: str = "stable-diffusion") -> str:
        save_file(tensors, file)
        engine = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), lora=(str(file),), **QUICK))
        messages = set()
        for step in (engine.describe, lambda: engine.open(None)):
            with pytest.raises(InputError) as caught:
                step()
            assert caught.value.hint
            messages.add(caught.value.message)
        (message,) = messages  # the same before the run as when the model is loaded
        assert str(file) in message
        return message

    layer = "transformer.single_transformer_blocks.0.attn.to_q"
    flux = {f"{layer}.lora_A.weight": DOWN, f"{layer}.lora_B.weight": UP}
    assert f"unet.{layer}: unet/ has no such layer" in refusal(flux)
    wide = dict(zip(("up", "down"), _matrices(32, 32), strict=True))
    other = {f"unet.{UNET_LAYER}.lora.{side}.weight": tensor for side, tensor in wide.items()}
    assert f"unet.{UNET_LAYER}: (32, 2) by (2, 32) does not fit a layer of (16, 16)" in refusal(other)
    assert "only its up matrix" in refusal({f"unet.{UNET_LAYER}.lora.up.weight": UP})
    assert "DoRA" in refusal({**_diffusers(None), f"unet.{UNET_LAYER}.lora_magnitude_vector": torch.ones(16)})
    assert "LoKr" in refusal({"lora_unet_x.lokr_w1": UP})
    assert "has no such layer" in refusal(_diffusers(None), "flux-dev")


def test_files_that_are_no_lora(tiny_family: Callable[[str], Path], tmp_path: Path) -> None:
    def engine(text: str) -> DiffusionEngine:
        return DiffusionEngine(DiffusionOptions(model=tiny_family("stable-diffusion"), lora=(text,), **QUICK))

    with pytest.raises(MissingInputError, match="LoRA file not found"):
        engine(str(tmp_path / "nothing.safetensors")).describe()
    (tmp_path / "page.safetensors").write_bytes(b"<!DOCTYPE html>" + bytes(1000))
    with pytest.raises(InputError, match=r"page\.safetensors is"):
        engine(str(tmp_path / "page.safetensors")).describe()


def test_weights_of_loras_are_read_after_the_last_colon() -> None:
    assert parse_lora("a.safetensors") == LoraFile(Path("a.safetensors"))
    assert parse_lora("a.safetensors:0.7") == LoraFile(Path("a.safetensors"), 0.7)
    assert parse_lora("C:\\a.safetensors") == LoraFile(Path("C:\\a.safetensors"))
    assert parse_lora("dir:x/a.safetensors:-1") == LoraFile(Path("dir:x/a.safetensors"), -1.0)
    for text in ("", "a.safetensors:0", "a.safetensors:inf", "a.safetensors:nan"):
        with pytest.raises(InputError, match="must be FILE or FILE:WEIGHT"):
            parse_lora(text)

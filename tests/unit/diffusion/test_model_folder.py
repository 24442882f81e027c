"""Model folders that are whole, spoilt or of another kind: found out without loading, and never a stack trace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovforge.devices import resolve_device
from ovforge.errors import InputError, MissingInputError
from ovforge.options.diffusion import Precision
from ovforge.synthesis.diffusion import inspect_model_folder
from ovforge.synthesis.diffusion.model import StableDiffusion
from ovforge.synthesis.diffusion.model_folder import check_model_folder, weight_hashes
from ovforge.synthesis.diffusion.schedule import NoiseScale

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoilt."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def _load(folder: Path, **options: object) -> StableDiffusion:
    return StableDiffusion(folder, device=CPU, precision=Precision.FP32, **options)


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def _refusal(folder: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        _load(folder, **options)
    assert str(folder) in caught.value.message
    assert caught.value.hint
    return caught.value.message


def test_a_whole_folder_has_no_problems(tiny_model: Path) -> None:
    report = inspect_model_folder(tiny_model)
    assert report.usable and not report.missing and not report.pickles and not report.inpainting
    hashes = weight_hashes(report)
    assert list(hashes) == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_looking_at_a_folder_loads_no_torch(tiny_model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ovforge.synthesis.diffusion import inspect_model_folder;"
        "assert inspect_model_folder(Path(sys.argv[1])).usable; assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_model)], check=True)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="model folder not found"):
        _load(tmp_path / "nothing")


def test_a_single_checkpoint_file(tmp_path: Path) -> None:
    checkpoint = tmp_path / "v1-4.ckpt"
    checkpoint.write_bytes(b"checkpoint")
    assert "single file" in _refusal(checkpoint)


def test_a_folder_without_a_model_points_to_the_one_inside(folder: Path) -> None:
    with pytest.raises(InputError, match="no model in diffusers' layout") as caught:
        _load(folder.parent)
    assert str(folder) in caught.value.hint


@pytest.mark.parametrize(
    "missing",
    [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert inspect_model_folder(folder).missing == (missing,)
    assert missing in _refusal(folder)


def test_a_missing_component_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    shutil.rmtree(folder / "vae")
    message = _refusal(folder)
    for name in ("vae/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json"):
        assert name in message


def test_weights_cut_short(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for size in (0, 5, 1000, len(whole) - 1):
        weights.write_bytes(whole[:size])
        assert "unet/diffusion_pytorch_model.safetensors is" in _refusal(folder)
    weights.write_bytes(b"<!DOCTYPE html>" + bytes(1000))
    assert "unet/diffusion_pytorch_model.safetensors is" in _refusal(folder)


def test_a_large_file_pointer_instead_of_weights(folder: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 334643276\n")
    assert "vae/diffusion_pytorch_model.safetensors is a Git LFS pointer" in _refusal(folder)


def test_a_configuration_that_is_no_json(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("{")
    assert "vae/config.json" in _refusal(folder)
    (folder / "vae" / "config.json").write_text("[]")
    assert "vae/config.json" in _refusal(folder)


def test_weights_that_lack_a_tensor_are_refused_not_filled_in(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path, metadata={"format": "pt"})
    assert "conv_in.bias" in _refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    _edit(folder / "text_encoder" / "config.json", intermediate_size=48)
    assert "text_encoder: the weights do not fit" in _refusal(folder)


def test_components_that_do_not_belong_together(folder: Path) -> None:
    _edit(folder / "unet" / "config.json", cross_attention_dim=1024)
    assert "do not belong together" in _refusal(folder)


def test_other_kinds_of_models(folder: Path) -> None:
    _edit(folder / "model_index.json", _class_name="KandinskyPipeline")
    assert "this is a KandinskyPipeline" in _refusal(folder)
    (folder / "model_index.json").unlink()
    (folder / "transformer").mkdir()
    (folder / "transformer" / "config.json").write_text('{"_class_name": "PixArtTransformer2DModel"}')
    assert "this is a PixArtTransformer2DModel" in _refusal(folder)
    (folder / "model_index.json").write_text("not JSON")
    assert "model_index.json" in _refusal(folder)


def test_an_unknown_noise_scale(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", beta_schedule="squaredcos_cap_v2")
    assert "squaredcos_cap_v2" in _refusal(folder)
    _edit(folder / "scheduler" / "scheduler_config.json", beta_schedule="linear", prediction_type="sample")
    assert "'sample'" in _refusal(folder)


def test_pickled_weights_need_permission(folder: Path) -> None:
    safe = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(safe), safe.with_suffix(".bin"))
    assert not inspect_model_folder(folder).pickles  # safetensors first
    safe.unlink()
    assert inspect_model_folder(folder).pickles == ("unet",)
    message = _refusal(folder)
    assert "only pickled weights for unet" in message
    _load(folder, allow_pickle=True)


def test_a_pickle_that_runs_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    import pickle

    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    safe = folder / "unet" / "diffusion_pytorch_model.safetensors"
    safe.unlink()
    safe.with_suffix(".bin").write_bytes(pickle.dumps({"conv_in.weight": Harm()}))
    _refusal(folder, allow_pickle=True)
    assert not (tmp_path / "harm").exists()


def test_weights_in_parts_and_in_half_precision(folder: Path, tmp_path: Path) -> None:
    whole = _load(folder)
    whole.unet.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    shutil.rmtree(folder / "unet")
    shutil.copytree(tmp_path / "parts", folder / "unet")
    text = folder / "text_encoder" / "model.safetensors"
    text.rename(text.with_name("model.fp16.safetensors"))
    report = inspect_model_folder(folder)
    assert report.usable and len(report.weights["unet"].files) > 1
    again = _load(folder)
    for name, tensor in whole.unet.state_dict().items():
        assert torch.equal(tensor, again.unet.state_dict()[name])

    report.weights["unet"].files[0].unlink()
    assert report.weights["unet"].files[0].name in _refusal(folder)


def test_an_inpainting_model_is_recognised(build_tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "inpainting", in_channels=9)
    assert check_model_folder(folder).inpainting
    _edit(folder / "unet" / "config.json", in_channels=5)
    assert "in_channels is 5" in _refusal(folder)


def test_devices_that_are_not_there() -> None:
    assert resolve_device("cpu") == CPU
    for name in ("cuda:99", "quantum", "meta"):
        with pytest.raises(InputError, match=name):
            resolve_device(name)


def test_the_root_of_a_hub_cache_points_to_its_snapshot(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub/models--x--sd/snapshots/0123abcd"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(folder, snapshot)
    for root in (tmp_path / "hub", tmp_path / "hub/models--x--sd", snapshot.parent):
        report = inspect_model_folder(root)
        assert not report.usable
        assert str(snapshot) in report.hint


@pytest.mark.parametrize("name", ["pytorch_model.ckpt", "flax_model.msgpack", "model.onnx", "weights.non_ema.bin"])
def test_weights_in_another_form_are_named(folder: Path, name: str) -> None:
    (folder / "text_encoder/model.safetensors").rename(folder / "text_encoder" / name)
    (problem,) = inspect_model_folder(folder).problems
    assert f"text_encoder/ has its weights as {name}, which are not read" in problem


def test_a_checkpoint_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "v1-5-pruned.ckpt").write_bytes(b"x")
    assert "v1-5-pruned.ckpt is a single file: convert it" in inspect_model_folder(tmp_path).hint


@pytest.mark.parametrize("content", [b"", b"null", b"\0" * 100, b"[]", b"{"])
@pytest.mark.parametrize(
    "file", ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "model_index.json"]
)
def test_null_and_empty_files_are_refused_by_name(folder: Path, file: str, content: bytes) -> None:
    if file == "tokenizer/vocab.json" and (folder / "tokenizer/tokenizer.json").exists():
        file = "tokenizer/tokenizer.json"
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=file.rpartition("/")[2].replace(".", r"\.")):
        check_model_folder(folder)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\0" * 8])
def test_weights_of_zeros_are_refused(folder: Path, content: bytes) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"vae/diffusion_pytorch_model\.safetensors"):
        check_model_folder(folder)


@pytest.mark.parametrize("listed", [None, {}, {"a": None}, {"a": "../../x.safetensors"}])
def test_an_index_of_weights_without_files(folder: Path, listed: object) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": listed}))
    assert any("lists no files of weights" in problem for problem in inspect_model_folder(folder).problems)


@pytest.mark.parametrize("kind", ["CMStochasticIterativeScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_models_that_need_another_sampler_are_refused(folder: Path, kind: str) -> None:
    _edit(folder / "scheduler/scheduler_config.json", _class_name=kind)
    with pytest.raises(InputError, match=kind):
        check_model_folder(folder)


@pytest.mark.parametrize(("name", "value"), [("beta_start", None), ("steps_offset", None)])
def test_a_null_in_the_noise_scale_means_the_default(name: str, value: object) -> None:
    assert NoiseScale.from_config({name: value}, where="x") == NoiseScale.from_config({}, where="x")
    with pytest.raises(InputError, match=name):
        NoiseScale.from_config({name: "many"}, where="x")


def test_prompts_are_bounded_by_the_text_encoder(folder: Path) -> None:
    (folder / "tokenizer/tokenizer_config.json").unlink(missing_ok=True)  # then the tokenizer knows no limit
    model = StableDiffusion(folder, device=torch.device("cpu"), precision=Precision.FP32)
    model.tokenizer.model_max_length = int(1e30)
    tokens = model.text_encoder.config.max_position_embeddings
    assert model.encode_text("a cat " * 500).shape[1] == tokens


@pytest.mark.parametrize("device", ["mps", "xpu", "cuda:7", "tpu", "meta"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(device: str) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(InputError, match=rf"device='{device}'") as caught:
        resolve_device(device)
    assert "cpu" in caught.value.hint

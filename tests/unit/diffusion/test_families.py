"""Every family on its tiny model: as diffusers' own pipeline, independent of neighbours, kept, replayed, refused."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovforge.errors import InputError
from ovforge.options.diffusion import Cache, DiffusionOptions, Foreground, Precision, Preset, Sampler
from ovforge.options.workflow import WorkflowOptions
from ovforge.synthesis.diffusion import DiffusionEngine, engine_from_description, inspect_model_folder
from ovforge.synthesis.diffusion.attempts import GIVEN_UP, Attempt
from ovforge.synthesis.diffusion.latents import FEATHER, kept_pixels
from ovforge.synthesis.diffusion.pipeline_repainter import PipelineRepainter
from ovforge.synthesis.repaint import RepaintJob
from ovforge.workflow.doctor import doctor

MakeJob = Callable[..., RepaintJob]
KINDS = [
    "stable-diffusion-xl",
    "stable-diffusion-xl-inpainting",
    "stable-diffusion-3",
    "flux-dev",
    "flux-schnell",
    "flux-fill",
    "flux-kontext",
    "flux2-klein",
    "qwen-image",
    "z-image",
]
QUICK: dict[str, Any] = {"steps": 3, "device": "cpu", "cpu_threads": 1, "width": 64, "height": 64}
PROMPTS = ("a photo of a cat", "a dog", "a cup of a photo of a dog")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def open_kind(tiny_family: Callable[[str], Path]) -> Iterator[Callable[..., PipelineRepainter]]:
    """`open_kind(kind, **options)`: the engine on a tiny model; kept for the tests that follow."""
    opened: dict[tuple[str, str], PipelineRepainter] = {}

    def open_(kind: str, **options: object) -> PipelineRepainter:
        key = (kind, repr(sorted(options.items())))
        if key not in opened:
            engine = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), **{**QUICK, **options}))
            repainter = engine.open(None)
            assert isinstance(repainter, PipelineRepainter)
            opened[key] = repainter
        return opened[key]

    yield open_
    for repainter in opened.values():
        repainter.close()


def test_images_are_those_of_diffusers_own_pipeline(
    kind: str, open_kind, tiny_family: Callable[[str], Path], make_job: MakeJob
) -> None:
    """The same folder, loaded and called as its users do, with the same generator: within one level."""
    import diffusers

    job = make_job(1, prompt=PROMPTS[0])
    engine = open_kind(kind)
    (ours,) = engine.repaint([job])
    pipeline = type(engine.pipe).from_pretrained(tiny_family(kind))
    pipeline.set_progress_bar_config(disable=True)
    images = torch.from_numpy(job.image).permute(2, 0, 1)[None].float() / 255
    mask = 1 - torch.from_numpy(kept_pixels(job.keep_mask, engine._cell)).float()[None, None]
    described = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), **QUICK)).describe()
    output = "latent" if described["family"] == "stable-diffusion-3" else "np"
    theirs = pipeline(
        prompt=job.prompt,
        image=images,
        mask_image=mask,
        height=64,
        width=64,
        generator=Attempt(job, 0).torch_generator("pipeline"),
        output_type=output,
        **_their_arguments(pipeline, described),
    ).images[0]
    if output == "latent":  # its pipeline decodes without the VAE's shift: a kept region would change its colour
        config = pipeline.vae.config
        with torch.no_grad():
            decoded = pipeline.vae.decode(theirs[None] / config.scaling_factor + config.shift_factor).sample[0]
        theirs = (decoded / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()
    difference = np.abs(np.rint(theirs * 255) - ours.image)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.99
    assert isinstance(pipeline, getattr(diffusers, described["pipeline"]))
    assert ours.image.std() > 5  # not a grey image, of which anything would be true


def _their_arguments(pipeline: Any, described: dict[str, Any]) -> dict[str, Any]:
    """The options of the run by the names that the pipeline's call has for them."""
    known = inspect.signature(pipeline.__call__).parameters
    arguments = {"num_inference_steps": described["steps"], "strength": described["strength"]}
    if "max_area" in known:
        arguments |= {"max_area": 64 * 64, "_auto_resize": False}
    if described["family"] == "flux" and not pipeline.transformer.config.guidance_embeds:
        arguments["max_sequence_length"] = 256
    if "true_cfg_scale" in known and described["guided"]:
        return arguments | {"true_cfg_scale": described["guidance"], "negative_prompt": ""}
    return arguments | {"guidance_scale": described["guidance"]}


def test_an_image_depends_neither_on_its_neighbours_nor_on_its_place(kind: str, open_kind, make_job: MakeJob) -> None:
    engine = open_kind(kind, batch_size=None if open_kind(kind).batches.largest == 1 else 3)
    jobs = [make_job(number, prompt=prompt) for number, prompt in enumerate(PROMPTS)]
    together = [result.image for result in engine.repaint(jobs)]
    backwards = [result.image for result in engine.repaint(jobs[::-1])][::-1]
    alone = [engine.repaint([job])[0].image for job in jobs]
    for one, other, single in zip(together, backwards, alone, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, single)
    assert len({image.tobytes() for image in together}) == len(jobs)


def test_prompt_and_seed_decide(kind: str, open_kind, make_job: MakeJob) -> None:
    engine = open_kind(kind)
    job = make_job(1)
    (first,) = engine.repaint([job])
    for other in (dataclasses.replace(job, prompt=PROMPTS[1]), dataclasses.replace(job, seed=4)):
        (changed,) = engine.repaint([other])
        assert not np.array_equal(first.image, changed.image)


def test_kept_regions_come_through(kind: str, open_kind, make_job: MakeJob) -> None:
    job = make_job(1, 128, 128)
    job.keep_mask[:] = False
    job.keep_mask[20:90, 20:90] = True
    exact = open_kind(kind, foreground=Foreground.EXACT, vae_tiling=True).repaint([job])[0].image
    inner = slice(20 + FEATHER, 90 - FEATHER)
    np.testing.assert_array_equal(exact[inner, inner], job.image[inner, inner])
    assert not np.array_equal(exact[~job.keep_mask], job.image[~job.keep_mask])


def test_without_captions_the_prompt_is_empty(kind: str, open_kind, make_job: MakeJob) -> None:
    engine = open_kind(kind, no_captions=True)
    one, other = engine.repaint([make_job(1)])[0], engine.repaint([make_job(1, prompt=PROMPTS[1])])[0]
    np.testing.assert_array_equal(one.image, other.image)
    assert one.prompt == ""


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_half_precision_stays_close(kind: str, open_kind, make_job: MakeJob, precision: Precision) -> None:
    """Of noise, texture and weights alike: that it runs, and paints the same image."""
    job = make_job(1)
    (whole,), (half,) = open_kind(kind).repaint([job]), open_kind(kind, precision=precision).repaint([job])
    assert not half.drops
    difference = np.abs(whole.image.astype(int) - half.image)
    assert 0 < difference.mean() < 12


def test_a_spoilt_image_is_given_up_after_another_try(kind: str, open_kind, make_job: MakeJob) -> None:
    engine = open_kind(kind, no_captions=True)
    job = make_job(1)
    hook = engine.pipe.vae.decoder.register_forward_hook(lambda _module, _inputs, output: output * float("nan"))
    try:
        (result,) = engine.repaint([job])
    finally:
        hook.remove()
    np.testing.assert_array_equal(result.image, job.image)
    assert result.drops == (("repainted image", GIVEN_UP),)


def test_the_description_makes_the_engine_again(kind: str, tiny_family: Callable[[str], Path]) -> None:
    described = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), device="cpu")).describe()
    assert described == json.loads(json.dumps(described))
    again = engine_from_description(described)
    assert again.describe() == described
    assert described["pipeline"] and described["scheduler_config"] and described["steps"] >= described["steps_run"] > 0
    assert described["family"] == inspect_model_folder(tiny_family(kind)).family.name


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scheduler": Sampler.OVTRACK}, "scheduler='ovtrack': not for"),
        ({"n_sample": 2}, "n_sample=2: not for"),
        ({"jump_length": 2}, "jump_length=2: not for"),
        ({"guidance_until": 0.5}, "guidance_until=0.5: not for"),
        ({"blend_until": 0}, "blend_until=0: not for"),
        ({"compile": True}, "compile=True: not for"),
    ],
)
def test_what_a_family_cannot_do_is_refused_by_name(
    kind: str, tiny_family: Callable[[str], Path], options: dict[str, Any], named: str
) -> None:
    engine = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), device="cpu", **options))
    for step in (engine.describe, lambda: engine.open(None)):
        with pytest.raises(InputError, match=named) as caught:
            step()
        assert caught.value.hint


def test_out_of_memory_halves_the_batch(open_kind, make_job: MakeJob, tiny_family: Callable[[str], Path]) -> None:
    engine = DiffusionEngine(DiffusionOptions(model=tiny_family("stable-diffusion-xl"), batch_size=4, **QUICK)).open(
        None
    )

    def check(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 4:  # guidance doubles the rows: two images fit, four do not
            raise torch.OutOfMemoryError("out of memory (a limit of the test)")

    engine.pipe.unet.register_forward_pre_hook(check)
    jobs = [make_job(i) for i in range(3)]
    results = engine.repaint(jobs)
    assert [result.record["batch_size"] for result in results] == [2] * 3
    reference = open_kind("stable-diffusion-xl", batch_size=2).repaint(jobs)
    for one, other in zip(results, reference, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("sampler", [one for one in Sampler if one not in (Sampler.OVTRACK, Sampler.MODEL)])
def test_each_sampler_of_sdxl_makes_another_image(open_kind, make_job: MakeJob, sampler: Sampler) -> None:
    own = open_kind("stable-diffusion-xl").repaint([make_job(1)])[0].image
    engine = open_kind("stable-diffusion-xl", scheduler=sampler)
    (result,) = engine.repaint([make_job(1)])
    assert not result.drops and not np.array_equal(own, result.image)
    (again,) = engine.repaint([make_job(1)])
    np.testing.assert_array_equal(result.image, again.image)


def test_a_run_without_a_step_is_refused(tiny_family: Callable[[str], Path]) -> None:
    options = DiffusionOptions(model=tiny_family("stable-diffusion-xl"), device="cpu", steps=1, strength=0.5)
    with pytest.raises(InputError, match="that is not one step"):
        DiffusionEngine(options).describe()


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("flux-schnell", {"guidance": 3.5}, "guidance=3.5: not for FLUX.1"),
        ("flux-fill", {"strength": 0.5}, "strength=0.5: not for FLUX.1"),
        ("flux2-klein", {"guidance": 4}, "guidance=4: not for FLUX.2 Klein"),
        ("flux2-klein", {"width": 1200, "height": 1200}, "1200x1200': not for FLUX.2 Klein"),
        ("stable-diffusion-3", {"width": 512, "height": 256}, "512x256': not for Stable Diffusion 3"),
        ("stable-diffusion-3", {"cache": Cache.TAYLOR}, "cache='taylor': not for Stable Diffusion 3"),
        ("stable-diffusion-3", {"scheduler": Sampler.DPMPP}, "scheduler='dpm.*: not for Stable Diffusion 3"),
        ("stable-diffusion", {"cache": Cache.TAYLOR}, "cache='taylor': not for Stable Diffusion 1.x and 2.x"),
        ("qwen-image", {"batch_size": 2}, "batch_size=2: not for Qwen-Image"),
        ("z-image", {"batch_size": 2}, "batch_size=2: not for Z-Image"),
    ],
)
def test_what_one_family_cannot_do(
    tiny_family: Callable[[str], Path], kind: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named) as caught:
        DiffusionEngine(DiffusionOptions(model=tiny_family(kind), device="cpu", **options)).describe()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("Flux2Pipeline", "FLUX.2 dev"),
        ("QwenImageEditPipeline", "Qwen-Image-Edit"),
        ("FluxControlPipeline", "this is a FluxControlPipeline"),
        ("KandinskyPipeline", "this is a KandinskyPipeline"),
    ],
)
def test_models_that_are_not_run_are_named(tmp_path: Path, name: str, named: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    (problem,) = inspect_model_folder(tmp_path).problems
    assert named in problem


def test_a_missing_component_of_a_family_is_named(tiny_family: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_family("flux-dev"), tmp_path / "flux"))
    shutil.rmtree(folder / "text_encoder_2")
    (folder / "tokenizer_2/tokenizer.json").unlink()
    missing = inspect_model_folder(folder).missing
    assert "text_encoder_2/model.safetensors" in missing and "tokenizer_2/spiece.model" in missing
    (folder / "model_index.json").unlink()  # known by its transformer
    assert inspect_model_folder(folder).title == "FLUX.1 dev"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"_class_name": "FlowMatchHeunDiscreteScheduler"}, "FlowMatchHeunDiscreteScheduler is not run with FLUX.1"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "stochastic_sampling": True}, "stochastic_sampling"),
    ],
)
def test_schedulers_that_are_not_run(
    tiny_family: Callable[[str], Path], tmp_path: Path, config: dict[str, Any], named: str
) -> None:
    folder = Path(shutil.copytree(tiny_family("flux-dev"), tmp_path / "flux"))
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    (problem,) = inspect_model_folder(folder).problems
    assert named in problem


def test_doctor_lists_the_models_that_the_engine_may_be_given(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    for name, kind in (("fast", "flux-schnell"), ("cut", "z-image")):
        shutil.copytree(tiny_family(kind), tmp_path / "saved_models" / name)
    shutil.rmtree(tmp_path / "saved_models/cut/vae")
    cut, fast = doctor(WorkflowOptions(root=tmp_path)).engine_models
    assert (fast.place, fast.what, fast.problem) == ("saved_models/fast", "FLUX.1 schnell", "")
    assert cut.what == "Z-Image" and "vae/config.json" in cut.problem


def test_stable_diffusion_3_without_t5(tmp_path: Path, tiny_family_builder, make_job: MakeJob) -> None:
    folder = tiny_family_builder(tmp_path / "small", "stable-diffusion-3", t5=False)
    (result,) = DiffusionEngine(DiffusionOptions(model=folder, **QUICK)).open(None).repaint([make_job(1)])
    assert not result.drops


@pytest.mark.parametrize("kind", ["flux-dev", "qwen-image"])
def test_the_cache_changes_an_image_but_not_by_its_neighbours(kind: str, open_kind, make_job: MakeJob) -> None:
    options = {"steps": 7, "strength": 1.0}
    jobs = [make_job(number, prompt=prompt) for number, prompt in enumerate(PROMPTS)]
    full = open_kind(kind, **options).repaint(jobs)
    engine = open_kind(kind, **options, cache=Cache.TAYLOR, batch_size=None if kind == "qwen-image" else 3)
    calls = []
    block = engine.pipe.transformer.transformer_blocks[0].attn.to_q
    block.register_forward_hook(lambda *_: calls.append(1))
    cached = engine.repaint(jobs)
    passes = 6 if kind == "qwen-image" else 1  # three images alone, each with and without its prompt
    assert 0 < len(calls) < 7 * passes
    backwards = engine.repaint(jobs[::-1])[::-1]
    for one, other, whole in zip(cached, backwards, full, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert not np.array_equal(one.image, whole.image)


def test_presets_fill_what_is_not_given(tiny_family: Callable[[str], Path]) -> None:
    def described(kind: str, **options: Any) -> dict[str, Any]:
        return DiffusionEngine(DiffusionOptions(model=tiny_family(kind), device="cpu", **options)).describe()

    fast = described("stable-diffusion", preset=Preset.FAST)
    assert (fast["preset"], fast["steps"], fast["scheduler"], fast["guidance"]) == ("fast", 20, "dpm++", 7.5)
    assert described("stable-diffusion", preset=Preset.FAST, steps=12)["steps"] == 12
    assert described("flux-dev", preset=Preset.FAST)["cache"] == "taylor"
    assert described("flux-dev", preset=Preset.FAST, cache=Cache.NONE)["cache"] == "none"
    assert described("flux-dev", preset=Preset.BEST)["steps"] == 50
    again = engine_from_description(fast)
    assert again.options.preset is Preset.FAST and again.describe() == fast


FEW_STEPS = {
    "LCMScheduler": {"original_inference_steps": 50},
    "TCDScheduler": {},
    "EulerDiscreteScheduler": {"timestep_spacing": "trailing"},
}


@pytest.mark.parametrize("name", FEW_STEPS)
def test_weights_distilled_to_few_steps_run_with_their_own_sampler(
    tiny_family: Callable[[str], Path], tmp_path: Path, make_job: MakeJob, name: str
) -> None:
    import diffusers

    folder = Path(shutil.copytree(tiny_family("stable-diffusion"), tmp_path / "few"))
    config = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    scheduler = getattr(diffusers, name).from_config(config, **FEW_STEPS[name])
    scheduler.save_pretrained(folder / "scheduler")
    engine = DiffusionEngine(DiffusionOptions(model=folder, device="cpu", cpu_threads=1))
    described = engine.describe()
    assert (described["scheduler"], described["scheduler_class"], described["steps"]) == ("model", name, 4)
    assert described["steps_run"] == 3 and not described["guided"]
    opened = engine.open(None)
    jobs = [make_job(number) for number in range(2)]
    first, second = opened.repaint(jobs), opened.repaint(jobs[::-1])[::-1]
    for one, other in zip(first, second, strict=True):
        assert not one.drops
        np.testing.assert_array_equal(one.image, other.image)
    if name != "EulerDiscreteScheduler":
        with pytest.raises(InputError, match=f"distilled for {name}"):
            DiffusionEngine(DiffusionOptions(model=folder, device="cpu", scheduler=Sampler.DDIM)).describe()


def test_a_latent_consistency_model_takes_its_guidance_as_an_input(
    tiny_family: Callable[[str], Path], tmp_path: Path, make_job: MakeJob
) -> None:
    from diffusers import LCMScheduler, UNet2DConditionModel

    folder = Path(shutil.copytree(tiny_family("stable-diffusion"), tmp_path / "lcm"))
    config = UNet2DConditionModel.load_config(folder / "unet") | {"time_cond_proj_dim": 8}
    torch.manual_seed(0)
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    LCMScheduler.from_config(json.loads((folder / "scheduler/scheduler_config.json").read_text())).save_pretrained(
        folder / "scheduler"
    )
    images = []
    for guidance in (None, 2.0):
        engine = DiffusionEngine(DiffusionOptions(model=folder, device="cpu", cpu_threads=1, guidance=guidance))
        assert engine.describe()["guidance"] == (guidance or 8.0)
        images.append(engine.open(None).repaint([make_job(1)])[0].image)
    assert not np.array_equal(*images)


def test_the_refiner_is_refused_by_name(tiny_family: Callable[[str], Path], tmp_path: Path) -> None:
    index = json.loads((tiny_family("stable-diffusion-xl") / "model_index.json").read_text())
    index |= {"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (problem,) = inspect_model_folder(tmp_path).problems
    assert "refiner" in problem


def test_a_guidance_below_one_is_refused(tiny_family: Callable[[str], Path]) -> None:
    options = DiffusionOptions(model=tiny_family("stable-diffusion-xl"), device="cpu", guidance=0.5)
    with pytest.raises(InputError, match=r"guidance=0\.5: not for Stable Diffusion XL"):
        DiffusionEngine(options).describe()

"""The group `pairs`: tracking data. This file has `generate`; the other commands register themselves."""

from __future__ import annotations

import inspect
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ovforge.cli import pairs_export, pairs_list, pairs_replay, pairs_status, pairs_tracks
from ovforge.cli.common import Console, command
from ovforge.cli.diffusion_options import refuse_diffusion_options
from ovforge.cli.executors import (
    AddressOption,
    ExecutorOption,
    ShardsOption,
    WorkersOption,
    make_executor,
    resolve_auto,
    select_shards,
)
from ovforge.errors import InputError
from ovforge.options.diffusion import DiffusionOptions
from ovforge.options.executors import ExecutorName
from ovforge.options.labels import Outside
from ovforge.options.pairs import DEFAULT_ANNOTATIONS, DEFAULT_SAVE_DIR, PAIR_FRAMES, ClipMotion, GenerateOptions
from ovforge.records.reporting import StepSummary

if TYPE_CHECKING:
    from ovforge.synthesis.repaint import Engine

app = typer.Typer(help="Tracking data: second views and their tracks.", no_args_is_help=True)


class EngineName(str, Enum):
    """Who makes what is seen around the moved image."""

    FILL = "fill"
    DIFFUSION = "diffusion"
    WARP = "warp"


@app.callback()
def _group() -> None:
    """Tracking data: second views and their tracks."""


def _generate(
    console: Console,
    name: Annotated[str, typer.Argument(help="The run's name: its folder and its files are called so.")],
    *,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="fill: the moved image stays, its completed background is seen around it; needs no model. diffusion: "
            "Stable Diffusion repaints all but the objects. warp: a preview, not to train on; objects may be seen "
            "twice, the second time without a label."
        ),
    ] = EngineName.FILL,
    outside: Annotated[
        Outside | None,
        typer.Option(
            help="What is seen where the moved image does not reach, before the engine repaints: the completed "
            "background, or the original with its objects, as in OVTrack.",
            show_default="completed; original for warp and --scheduler ovtrack",
        ),
    ] = None,
    executor: ExecutorOption = ExecutorName.LOCAL,
    address: AddressOption = None,
    workers: WorkersOption = 0,
    partitions: Annotated[int, typer.Option("--partitions", "--total-p", help="HDF5 files to publish.")] = 1,
    variants: Annotated[int, typer.Option("--variants", "--repeat_num", help="Second views per image.")] = 1,
    frames: Annotated[
        int,
        typer.Option(help="2: pairs. 3 to 64: clips of so many frames, in which objects move; the image is the first."),
    ] = PAIR_FRAMES,
    motion: Annotated[
        ClipMotion | None,
        typer.Option(
            help="How clips move. video: as real footage; hard: more than that; ovtrack: every frame is a second "
            "view of its own, and no object moves by itself.",
            show_default="video",
        ),
    ] = None,
    gap: Annotated[
        float | None,
        typer.Option(help="How many video frames two frames of a clip are apart, 1 to 60.", show_default="15"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same inputs: same pairs.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away the run of this name and start anew.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder or HDF5 file of the images; data/lvis/train_imgs.hdf5 or else data/lvis/train2017.",
        ),
    ] = None,
    ann: Annotated[
        Path | None,
        typer.Option(
            "--ann",
            "--annotations",
            "--coco_lvis_path",
            help=f"LVIS or COCO annotations; {DEFAULT_ANNOTATIONS}.",
            show_default=False,
        ),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            help="COCO captions, for the prompts; data/lvis/annotations/captions_train2017.json if it is there, "
            "else class names."
        ),
    ] = None,
    save_dir: Annotated[
        Path,
        typer.Option(
            "--folder", "--save-dir", "--out", "--default_save_dir", help="Folder that the run's folder goes to."
        ),
    ] = DEFAULT_SAVE_DIR,
    min_area: Annotated[
        float | None,
        typer.Option(
            "--min-area",
            help="Where the engine repaints: keep objects larger than this, in square pixels. fill and warp keep all.",
            show_default="4096",
        ),
    ] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Store warped masks and the kept region.")] = True,
    quality: Annotated[int, typer.Option(help="JPEG quality of the second views.")] = 95,
    limit: Annotated[int | None, typer.Option(help="Only the first so many images, for a trial.")] = None,
    shard_size: Annotated[int | None, typer.Option("--shard-size", help="Images per unit of work.")] = None,
    shards: ShardsOption = None,
    accept_version: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-version",
            metavar="LIBRARY",
            help="Resume although this library has another version than at the run's start; again for more.",
            show_default=False,
        ),
    ] = None,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Make again the images that could not be used before.")
    ] = False,
    only_check: Annotated[
        bool, typer.Option("--check", help="Only check, as `pairs check` does; nothing is written.")
    ] = False,
    remake_changed: Annotated[
        bool,
        typer.Option("--remake-changed", help="Make again the images that a corrected annotation file changes."),
    ] = False,
    diffusion: DiffusionOptions,
) -> StepSummary:
    """Make a second view of every image: moved, its objects labelled, the background completed or repainted.

    A run that was stopped resumes when it is named again; options that are not given are the run's own then.
    """
    options = GenerateOptions(
        name=name,
        save_dir=save_dir,
        images=images,
        annotations=ann,
        captions=captions,
        no_captions=diffusion.no_captions,
        partitions=partitions,
        variants=variants,
        frames=frames,
        motion=motion,
        gap=gap,
        seed=seed,
        min_area=min_area,
        outside=outside,
        masks=masks,
        quality=quality,
        limit=limit,
        shard_size=shard_size,
        overwrite=overwrite,
        accept_versions=tuple(accept_version or ()),
        retry_skipped=retry_skipped,
        remake_changed=remake_changed,
    )
    from ovforge.runs.executors.local import available_cores
    from ovforge.synthesis.generate import generate_pairs

    engine, diffusion = _of_run(options, engine, diffusion, console.given)
    device = None
    if engine is EngineName.DIFFUSION:
        device = resolve_auto(executor, address, diffusion.device)
        diffusion = replace(diffusion, device=device)
    pool = make_executor(executor, workers=workers, address=address, device=device)
    with console.progress() as progress:
        if only_check:
            from ovforge.synthesis.check import check_pairs

            return check_pairs(
                options,
                _engine(engine, diffusion),
                workers=pool.workers or available_cores(),
                device=device,
                given=console.given,
                progress=progress,
            )
        return generate_pairs(
            options,
            _engine(engine, diffusion),
            pool,
            threads=max(1, available_cores() // (pool.workers or available_cores())),
            shards=select_shards(shards),
            given=console.given,
            progress=progress,
        )


def _check(console: Console, **options: Any) -> StepSummary:
    """Check all that generating, merging and annotating a run will need; say what it will skip, write and take.

    Takes the options of `pairs generate`, makes a few images to estimate time and disk, and writes nothing.
    """
    return _generate(console, **options, only_check=True)


_signature = inspect.signature(_generate, eval_str=True)
_check.__signature__ = _signature.replace(  # type: ignore[attr-defined]  # the same options as generate's
    parameters=[one for one in _signature.parameters.values() if one.name != "only_check"]
)
command(app, "generate", example="ovforge pairs generate my_pairs --workers 4 --partitions 4")(_generate)
command(app, "check", example="ovforge pairs check my_pairs --workers 4 --partitions 4")(_check)


@command(app, "sheet", example="ovforge pairs sheet my_pairs --out my_pairs.png --count 8")
def sheet(
    console: Console,
    name: Annotated[str, typer.Argument(help="The run's name; it has to be merged and annotated.")],
    *,
    folder: Annotated[Path, typer.Option("--folder", "--save-dir", help="Where the merged files are.")] = (
        DEFAULT_SAVE_DIR
    ),
    out: Annotated[Path | None, typer.Option(help="The PNG to write; NAME.png in that folder.")] = None,
    count: Annotated[int, typer.Option(min=1, max=500, help="How many pairs.")] = 8,
    seed: Annotated[int, typer.Option(help="Which pairs.")] = 0,
    columns: Annotated[int, typer.Option(min=1, max=10, help="Pairs side by side; clips are strips.")] = 2,
    mp4: Annotated[
        Path | None, typer.Option("--mp4", help="Write each clip on the sheet as a video to this folder, too.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> StepSummary:
    """Draw pairs side by side, or clips as strips, on one sheet, boxes and labels coloured by track."""
    del console
    from ovforge.records.run_layout import check_run_name
    from ovforge.synthesis.contact_sheet import contact_sheet

    check_run_name(folder, name)
    path = out or folder / f"{name}.png"
    drawn = contact_sheet(
        folder / f"{name}.h5",
        folder / "annotations" / f"{name}.json",
        path,
        count=count,
        seed=seed,
        columns=columns,
        mp4=mp4,
        overwrite=overwrite,
    )
    return StepSummary(
        step="pairs sheet",
        outputs={"sheet": str(path)} | ({"videos": str(mp4)} if mp4 else {}),
        counts={"pairs": drawn},
    )


pairs_list.register(app)
pairs_replay.register(app)
pairs_status.register(app)
pairs_tracks.register(app)
pairs_export.register(app)


def _of_run(
    options: GenerateOptions, name: EngineName, diffusion: DiffusionOptions, given: frozenset[str]
) -> tuple[EngineName, DiffusionOptions]:
    """The engine and its options; on resuming, what was not given is the run's own."""
    from ovforge.synthesis.engines import engine_name, with_run_diffusion_options
    from ovforge.synthesis.run_inputs import binding_plan

    plan = None if options.overwrite else binding_plan(options.folder)
    if plan is None or ("engine" in given and name.value != engine_name(plan)):
        return name, diffusion
    if engine_name(plan) not in [one.value for one in EngineName]:
        raise InputError(f"{options.folder}: made by the engine '{engine_name(plan)}', unknown to this release")
    name = EngineName(engine_name(plan))
    if name is EngineName.DIFFUSION:
        diffusion = with_run_diffusion_options(diffusion, plan, options.folder, given)
    return name, diffusion


def _engine(name: EngineName, diffusion: DiffusionOptions) -> Engine:
    """The engine with its options."""
    if name is EngineName.DIFFUSION:
        from ovforge.synthesis.diffusion import DiffusionEngine

        return DiffusionEngine(diffusion)
    from ovforge.synthesis.warp import FillEngine, WarpEngine

    refuse_diffusion_options(diffusion, name.value)
    return FillEngine() if name is EngineName.FILL else WarpEngine()

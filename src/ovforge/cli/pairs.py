"""The group `pairs`: tracking data. This file has `generate`; the other commands register themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from ovforge.cli import pairs_export, pairs_list, pairs_replay, pairs_status, pairs_tracks
from ovforge.cli.common import Console, command
from ovforge.cli.diffusion_options import refuse_diffusion_options
from ovforge.cli.executors import executor_of, resolve_auto, select_shards
from ovforge.errors import InputError
from ovforge.options.base import given_words
from ovforge.options.diffusion import DiffusionOptions
from ovforge.options.executors import ExecutorOptions
from ovforge.options.pairs import EngineChoice, EngineName, GenerateOptions, OnlyCheck, SheetOptions
from ovforge.records.reporting import StepSummary

if TYPE_CHECKING:
    from ovforge.runs.executors.base import Executor
    from ovforge.synthesis.repaint import Engine

app = typer.Typer(help="Tracking data: second views and their tracks.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Tracking data: second views and their tracks."""


@command(app, "generate", example="ovforge pairs generate my_pairs --workers 4 --partitions 4")
def generate(
    console: Console,
    choice: EngineChoice,
    options: GenerateOptions,
    work: ExecutorOptions,
    diffusion: DiffusionOptions,
    *,
    instead: OnlyCheck,
) -> StepSummary:
    """Make a second view of every image: moved, its objects labelled, the background completed or repainted.

    A run that was stopped resumes when it is named again; options that are not given are the run's own then.
    """
    from ovforge.parallel import cpu_count
    from ovforge.synthesis.generate import generate_pairs

    if instead.check:
        return _check(console, choice, options, work, diffusion)
    options, engine, executor, _ = _prepare(console, choice, options, work, diffusion)
    with console.progress() as progress:
        return generate_pairs(
            options,
            engine,
            executor,
            threads=max(1, cpu_count() // (executor.workers or cpu_count())),
            shards=select_shards(work.shards),
            given=console.given,
            progress=progress,
        )


@command(app, "check", example="ovforge pairs check my_pairs --workers 4 --partitions 4")
def check(
    console: Console, choice: EngineChoice, options: GenerateOptions, work: ExecutorOptions, diffusion: DiffusionOptions
) -> StepSummary:
    """Check all that generating, merging and annotating a run will need; say what it will skip, write and take.

    Takes the options of `pairs generate`, makes a few images to estimate time and disk, and writes nothing.
    """
    return _check(console, choice, options, work, diffusion)


def _check(
    console: Console, choice: EngineChoice, options: GenerateOptions, work: ExecutorOptions, diffusion: DiffusionOptions
) -> StepSummary:
    from msgspec import structs

    from ovforge.parallel import cpu_count
    from ovforge.records.reporting import shell_command
    from ovforge.synthesis.check import check_pairs

    words = [word for given in (options, choice, work, diffusion) for word in given_words(given)]
    options, engine, executor, device = _prepare(console, choice, options, work, diffusion)
    with console.progress() as progress:
        summary = check_pairs(
            options,
            engine,
            workers=executor.workers or cpu_count(),
            device=device,
            given=console.given,
            progress=progress,
        )
    return structs.replace(summary, next_command=shell_command("ovforge", "pairs", "generate", *words))


def _prepare(
    console: Console, choice: EngineChoice, options: GenerateOptions, work: ExecutorOptions, diffusion: DiffusionOptions
) -> tuple[GenerateOptions, Engine, Executor, str | None]:
    """What a run is made with: its options, its engine, who does the work, and on which device."""
    options = replace(options, no_captions=diffusion.no_captions)
    engine, diffusion = _of_run(options, choice.engine, diffusion, console.given)
    device = None
    if engine is EngineName.DIFFUSION:
        device = resolve_auto(work.executor, work.address, diffusion.device)
        diffusion = replace(diffusion, device=device)
    return options, _engine(engine, diffusion), executor_of(work, device=device), device


@command(app, "sheet", example="ovforge pairs sheet my_pairs --out my_pairs.png --count 8")
def sheet(console: Console, options: SheetOptions) -> StepSummary:
    """Draw pairs side by side, or clips as strips, on one sheet, boxes and labels coloured by track."""
    del console
    from ovforge.records.run_layout import require_tracks
    from ovforge.synthesis.contact_sheet import contact_sheet

    drawn = contact_sheet(
        options.folder / f"{options.name}.h5",
        require_tracks(options.folder, options.name),
        options.output,
        count=options.count,
        seed=options.seed,
        columns=options.columns,
        mp4=options.mp4,
        overwrite=options.overwrite,
    )
    return StepSummary(
        step="pairs sheet",
        outputs={"sheet": str(options.output)} | ({"videos": str(options.mp4)} if options.mp4 else {}),
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
    from ovforge.records.run_layout import has_lost_plan
    from ovforge.synthesis.engines import engine_name, with_run_diffusion_options
    from ovforge.synthesis.run_inputs import binding_plan

    # Where the plan is lost, the options that are given have to be all of the run's: generating compares.
    started_over = options.overwrite or has_lost_plan(options.folder)
    plan = None if started_over else binding_plan(options.folder)
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

"""`ovforge pairs score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.executors import (
    AddressOption,
    ExecutorName,
    ExecutorOption,
    ShardsOption,
    WorkersOption,
    make_executor,
    select_shards,
)
from ovforge.cli.vision_options import PANEL, VISION_HELP, BatchOption, DeviceOption, DtypeOption
from ovforge.options.judge import ScoreOptions
from ovforge.options.tracks import PAIRS_FOLDER
from ovforge.options.vision import Dtype, VisionOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""

    @command(app, "score", example="ovforge pairs score my_pairs --vision saved_models/dinov2-base")
    def score(
        console: Console,
        name: Annotated[str, typer.Argument(help="The run's name; it has to be merged.", show_default=False)],
        *,
        folder: Annotated[Path, typer.Option(help="Where runs and merged files are.")] = PAIRS_FOLDER,
        annotations: Annotated[
            Path | None,
            typer.Option(
                help="The annotation file that the pairs were made from. Default: the run's own.", show_default=False
            ),
        ] = None,
        vision: Annotated[
            Path | None,
            typer.Option(
                "--vision",
                help=f"CLIP, SigLIP or DINO, for the scores same and margin. {VISION_HELP}",
                rich_help_panel=PANEL,
                show_default=False,
            ),
        ] = None,
        detector: Annotated[
            Path | None,
            typer.Option(
                "--detector",
                help=f"OWLv2 or Grounding DINO, for found and extra. {VISION_HELP}",
                rich_help_panel=PANEL,
                show_default=False,
            ),
        ] = None,
        device: DeviceOption = "auto",
        dtype: DtypeOption = Dtype.FLOAT32,
        batch: BatchOption = 64,
        threads: Annotated[
            int, typer.Option("--threads", min=1, help="Threads per worker that read and measure beside the models.")
        ] = 2,
        executor: ExecutorOption = ExecutorName.LOCAL,
        address: AddressOption = None,
        workers: WorkersOption = 0,
        shards: ShardsOption = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace scores that are there.", show_default=False)
        ] = False,
    ) -> StepSummary:
        """Judge every object in every second view: is it still what its label says?

        The scores go beside the merged run; annotate puts them into its file and may reject by them.
        """
        from ovforge.synthesis.judge import score_pairs

        options = ScoreOptions(
            name=name,
            folder=folder,
            annotations=annotations,
            vision=None if vision is None else VisionOptions(vision, device, dtype, batch),
            detector=None if detector is None else VisionOptions(detector, device, dtype, batch),
            threads=threads,
            overwrite=overwrite,
        )
        # Without a model it is work for cores alone.
        device_wanted = device if vision or detector else None
        pool = make_executor(executor, workers=workers, address=address, device=device_wanted)
        with console.progress() as progress:
            return score_pairs(options, pool, shards=select_shards(shards), progress=progress)

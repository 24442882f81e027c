"""The coverage report: what each source gave each class, and why a class has few exemplars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ovforge.exemplars.collate_plan import ClassPlan, Sources
from ovforge.options.exemplars import CollateOptions, Substitutes
from ovforge.records.coverage import ClassCoverage, Coverage, SourceState
from ovforge.records.exemplar import IMAGENET, LVIS, VISUAL_GENOME
from ovforge.taxonomy import releases_of, synset_to_wnid


def report(plans: Sequence[ClassPlan], sources: Sources, options: CollateOptions) -> Coverage:
    """The report on a finished plan."""
    lacking = [plan for plan in plans if plan.total < options.enough]
    return Coverage(
        exemplars=sum(plan.total for plan in plans),
        enough=options.enough,
        lacking=tuple(plan.facts.synset for plan in lacking),
        sources={
            LVIS: _lvis_state(plans, lacking, sources, options),
            IMAGENET: _imagenet_state(plans, lacking, sources, options),
            VISUAL_GENOME: _visual_genome_state(plans, lacking, sources, options),
        },
        classes=tuple(_class(plan, sources, options) for plan in plans),
    )


def _class(plan: ClassPlan, sources: Sources, options: CollateOptions) -> ClassCoverage:
    return ClassCoverage(
        category_id=plan.facts.id,
        name=plan.facts.name,
        synset=plan.facts.synset,
        frequency=plan.facts.frequency,
        lvis=plan.lvis,
        imagenet21k=plan.imagenet,
        visual_genome=plan.visual_genome,
        substitutes=sum(plan.substituted.values()),
        total=plan.total,
        substitute_synsets=tuple(plan.substituted),
        why=tuple(_why(plan, sources, options)) if plan.total < options.enough else (),
    )


def _why(plan: ClassPlan, sources: Sources, options: CollateOptions) -> Iterator[str]:
    """What the counts do not show: boxes that are too small, synsets that a source cannot have."""
    synset = plan.facts.synset
    wnid = synset_to_wnid().get(synset)
    if sources.lvis is None:
        yield "no LVIS"
    elif small := sources.lvis.count_small(plan.facts.id):
        yield f"{small} LVIS {_boxes(small)} too small"
    if wnid is None:
        yield "not in WordNet 3.0, so not in ImageNet"
    elif sources.imagenet is None:
        yield "no ImageNet"
    elif not plan.imagenet:
        yield f"no images of {wnid} here" if releases_of(synset) else f"no images of {wnid} in any ImageNet release"
    if sources.visual_genome is None:
        yield "no Visual Genome"
    elif small := sources.visual_genome.count_small(synset):
        yield f"{small} Visual Genome {_boxes(small)} too small"
    if options.substitutes is Substitutes.NEVER:
        yield "substitutes are off"
    elif not plan.substitutes:
        yield "no substitute known"
    elif missing := [each for each in plan.substitutes if each not in plan.substituted]:
        yield f"no images of the substitute {' and '.join(missing)} here"


def _boxes(count: int) -> str:
    return "box" if count == 1 else "boxes"


def _lvis_state(
    plans: Sequence[ClassPlan], lacking: Sequence[ClassPlan], sources: Sources, options: CollateOptions
) -> SourceState:
    found = sources.lvis is not None
    cost = (
        f"LVIS train is not {_at(options.lvis_dir)}: no class gets its boxes, and the classes are those of the "
        f"packaged table; {len(lacking):,} of them have fewer than {options.enough} exemplars"
    )
    return SourceState(_text(options.lvis_dir), found, sum(plan.lvis for plan in plans), "" if found else cost)


def _imagenet_state(
    plans: Sequence[ClassPlan], lacking: Sequence[ClassPlan], sources: Sources, options: CollateOptions
) -> SourceState:
    found = sources.imagenet is not None
    reached = sum(bool(releases_of(plan.facts.synset)) for plan in plans)
    lost = sum(bool(releases_of(plan.facts.synset)) for plan in lacking)
    cost = (
        f"ImageNet-21K is not {_at(options.imagenet_dir)}: {reached:,} classes have images there, "
        f"{lost:,} of these now have fewer than {options.enough} exemplars"
    )
    return SourceState(_text(options.imagenet_dir), found, sum(plan.imagenet for plan in plans), "" if found else cost)


def _visual_genome_state(
    plans: Sequence[ClassPlan], lacking: Sequence[ClassPlan], sources: Sources, options: CollateOptions
) -> SourceState:
    found = sources.visual_genome is not None
    asked = sum(plan.own < options.visual_genome_under for plan in plans)
    cost = (
        f"Visual Genome (objects.json and image_data.json) is not {_at(options.visual_genome_dir)}: {asked:,} classes "
        f"have fewer than {options.visual_genome_under} exemplars and would be looked for there, "
        f"{len(lacking):,} have fewer than {options.enough}" + _packed(options.visual_genome_dir)
    )
    count = sum(plan.visual_genome for plan in plans)
    return SourceState(_text(options.visual_genome_dir), found, count, "" if found else cost)


def _packed(folder: Path | None) -> str:
    """Visual Genome is downloaded as archives, which are easily forgotten to be unpacked."""
    archives = sorted(folder.glob("*.json.zip")) if folder is not None else []
    return f"; {' and '.join(archive.name for archive in archives)} should be unpacked" if archives else ""


def _at(path: object) -> str:
    return "given" if path is None else f"at {path}"


def _text(path: object) -> str | None:
    return None if path is None else str(path)

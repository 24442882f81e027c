"""The exemplar dictionary: for every class the images and boxes that show it, from three data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ovforge.annotation_io.record_edit import edit_record, raw_fields
from ovforge.errors import MissingInputError, ShortageError
from ovforge.exemplars import coverage
from ovforge.exemplars.collate_plan import ClassFacts, ClassPlan, Sources
from ovforge.exemplars.imagenet_images import ImageNetImages
from ovforge.exemplars.lvis_boxes import LvisBoxes
from ovforge.exemplars.substitutes import substitutes_of
from ovforge.exemplars.visual_genome_boxes import VisualGenomeBoxes, find_visual_genome
from ovforge.files.atomic import atomic_file, check_output, write_bytes
from ovforge.options.base import by_keywords
from ovforge.options.exemplars import CollateOptions, Substitutes
from ovforge.records.coverage import Coverage
from ovforge.records.exemplar import IMAGENET, VISUAL_GENOME
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command
from ovforge.sources.imagenet21k import find_tree
from ovforge.taxonomy import category_differences, lvis_classes, substitute_synsets

LVIS_TRAIN = "lvis_v1_train.json"


@by_keywords(CollateOptions)
def collate_exemplars(options: CollateOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Collect the exemplars of every class and write the dictionary and its coverage report.

    LVIS gives its boxes over 32x32, ImageNet-21K the images of exactly the class's synset. Classes with fewer than
    40 from these get Visual Genome's objects, classes with fewer than ten after that the images of related synsets
    (Kaul et al. 2023, appendix). A source that is not there is skipped, and the summary says what that costs.

    Raises:
        MissingInputError: none of the sources is there.
        ShortageError: a class has fewer than `require`; the report is written, the dictionary is not.
        OutputExistsError: `output` exists and `overwrite` is false.
    """
    check_output(options.output, overwrite=options.overwrite)
    drops = Drops()
    sources = _open_sources(options, drops, progress)
    try:
        facts = _classes(sources)
        plans = [_plan(each, sources) for each in facts.values()]
        _add_visual_genome(plans, sources, options, progress)
        _add_substitutes(plans, sources, options)
        report = coverage.report(plans, sources, options)
        require_some(report.exemplars, "exemplar", options.output, "of any class in the sources given")
        report_path = options.coverage or options.output.with_name(f"{options.output.stem}.coverage.json")
        # The report belongs to the dictionary: it is written with each, and with each refusal.
        write_bytes(report_path, msgspec.json.format(msgspec.json.encode(report)) + b"\n", overwrite=True)
        _check_required(report, options, report_path)
        _write(plans, sources, options, progress)
    finally:
        sources.close()
    return StepSummary(
        step="exemplars collate",
        outputs={"exemplar dictionary": str(options.output), "coverage report": str(report_path)},
        counts={
            "classes": len(plans),
            "exemplars": report.exemplars,
            "from LVIS": sum(plan.lvis for plan in plans),
            "from ImageNet-21K": sum(plan.imagenet for plan in plans),
            "from Visual Genome": sum(plan.visual_genome for plan in plans),
            "from substitutes": sum(sum(plan.substituted.values()) for plan in plans),
            "classes with substitutes": sum(bool(plan.substituted) for plan in plans),
            f"classes with fewer than {options.enough}": len(report.lacking),
            "empty classes": sum(plan.total == 0 for plan in plans),
        },
        drops=drops.freeze(),
        notes=(
            *_tree_note(sources),
            *_notes(facts, sources),
            *(state.cost for state in report.sources.values() if state.cost),
        ),
        next_command=shell_command("ovforge", "exemplars", "sample", exemplars=options.output),
    )


def _open_sources(options: CollateOptions, drops: Drops, progress: Progress) -> Sources:
    lvis = options.lvis_dir
    if lvis is not None and lvis.is_dir():
        lvis = lvis / LVIS_TRAIN
    imagenet = options.imagenet_dir if options.imagenet_dir is not None and options.imagenet_dir.exists() else None
    imagenet = find_tree(imagenet) or imagenet  # a folder without a tree is refused where it is opened
    visual_genome = find_visual_genome(options.visual_genome_dir)
    if (lvis is None or not lvis.exists()) and imagenet is None and visual_genome is None:
        raise MissingInputError(
            ", ".join(str(path) for path in (lvis, options.imagenet_dir, options.visual_genome_dir) if path),
            what="any of LVIS, ImageNet-21K and Visual Genome",
            hint="give at least one of --lvis-dir=DIR, --imagenet-dir=DIR and --visual-genome-dir=DIR; "
            "`ovforge doctor` shows where to get them",
        )
    progress("LVIS", 0, 1)
    boxes = LvisBoxes(lvis, min_area=options.min_area) if lvis is not None and lvis.exists() else None
    progress("LVIS", 1, 1)
    return Sources(
        boxes,
        ImageNetImages(imagenet, drops=drops) if imagenet is not None else None,
        VisualGenomeBoxes(visual_genome, min_area=options.min_area, drops=drops) if visual_genome else None,
    )


def _tree_note(sources: Sources) -> list[str]:
    return [sources.imagenet.note] if sources.imagenet is not None and sources.imagenet.note else []


def _classes(sources: Sources) -> dict[str, ClassFacts]:
    """Synset -> class, in category order; of two categories with one synset the later gives the id."""
    facts: tuple[ClassFacts, ...] = sources.lvis.categories if sources.lvis is not None else lvis_classes()
    return {each.synset: each for each in facts}


def _plan(facts: ClassFacts, sources: Sources) -> ClassPlan:
    return ClassPlan(
        facts,
        lvis=sources.lvis.count(facts.id) if sources.lvis is not None else 0,
        imagenet=len(sources.imagenet.names(facts.synset)) if sources.imagenet is not None else 0,
    )


def _add_visual_genome(plans: list[ClassPlan], sources: Sources, options: CollateOptions, progress: Progress) -> None:
    """Give Visual Genome's objects to the classes with fewer than 40; read the substitutes' on the way."""
    if sources.visual_genome is None:
        return
    lacking = [plan for plan in plans if plan.own < options.visual_genome_under]
    substitutes = {synset for plan in plans for synset in substitutes_of(plan.facts.synset)}
    sources.visual_genome.read({plan.facts.synset for plan in lacking} | substitutes, progress=progress)
    for plan in lacking:
        plan.visual_genome = sources.visual_genome.count(plan.facts.synset)


def _add_substitutes(plans: list[ClassPlan], sources: Sources, options: CollateOptions) -> None:
    """Decide whose lists the related synsets' images lengthen; the published 43 were chosen by hand."""
    for plan in plans:
        always = options.substitutes is Substitutes.ALWAYS and plan.facts.synset in substitute_synsets()
        if options.substitutes is Substitutes.NEVER or not (always or plan.own < options.enough):
            continue
        plan.substitutes = substitutes_of(plan.facts.synset)
        for synset in plan.substitutes:
            found = len(sources.imagenet.names(synset)) if sources.imagenet is not None else 0
            found += sources.visual_genome.count(synset) if sources.visual_genome is not None else 0
            if found:
                plan.substituted[synset] = found


def _check_required(report: Coverage, options: CollateOptions, report_path: Path) -> None:
    if options.require is None:
        return
    short = [each for each in report.classes if each.total < options.require]
    if short:
        names = ", ".join(f"{each.synset} ({each.total})" for each in short[:20]) + (", ..." if len(short) > 20 else "")
        raise ShortageError(
            f"{options.output}: not written, {len(short):,} of {len(report.classes):,} classes have fewer than "
            f"{options.require} exemplars: {names}",
            hint=f"{report_path} says why for each; leave out --require to write the dictionary all the same",
        )


def _write(plans: list[ClassPlan], sources: Sources, options: CollateOptions, progress: Progress) -> None:
    with atomic_file(options.output, overwrite=options.overwrite) as out:
        for number, plan in enumerate(plans):
            progress("classes", number, len(plans))
            out.write(b"%b%b: [" % (b", " if number else b"{", json.dumps(plan.facts.synset).encode()))
            for place, record in enumerate(_records(plan, sources)):
                out.write(b", " if place else b"")
                out.write(record)
            out.write(b"]")
        out.write(b"}" if plans else b"{}")
    progress("classes", len(plans), len(plans))


def _records(plan: ClassPlan, sources: Sources) -> Iterator[bytes]:
    """The records of one class, in the original's order and format."""
    facts = plan.facts
    if plan.lvis and sources.lvis is not None:
        yield from sources.lvis.take_records(facts.id)
    yield from _imagenet_records(facts, facts.synset, sources)
    if plan.visual_genome:
        yield from _visual_genome_records(facts, facts.synset, sources)
    for synset in plan.substitutes:
        yield from _imagenet_records(facts, synset, sources)
    for synset in plan.substitutes:
        yield from _visual_genome_records(facts, synset, sources)


def _imagenet_records(facts: ClassFacts, synset: str, sources: Sources) -> Iterator[bytes]:
    if sources.imagenet is None:
        return
    rest = json.dumps({"category_id": facts.id, "dataset": IMAGENET, "synset": synset}).encode()[1:]
    for name in sources.imagenet.names(synset):
        yield b'{"file_name": %b, %b' % (json.dumps(name).encode(), rest)


def _visual_genome_records(facts: ClassFacts, synset: str, sources: Sources) -> Iterator[bytes]:
    if sources.visual_genome is None:
        return
    for box in sources.visual_genome.boxes(synset):
        before = {
            "image_id": box.image_id,
            "dataset": VISUAL_GENOME,
            "file_name": sources.visual_genome.file_name(box.image_id),
            "category_id": facts.id,
            "synset": synset,
        }
        yield edit_record(box.raw, {}, first=raw_fields(before))


def _notes(facts: dict[str, ClassFacts], sources: Sources) -> Iterator[str]:
    if sources.lvis is None:
        return
    if twice := len(sources.lvis.categories) - len(facts):
        yield f"{twice} synsets belong to two categories: their exemplars share a list, under the later category's id"
    if differences := category_differences(sources.lvis.categories):
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        yield f"the categories are not quite those of LVIS v1: {'; '.join(differences[:3])}{more}"

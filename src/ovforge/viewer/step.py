"""`pairs view` and `exemplars view`: open what is to be looked at, and serve it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ovforge.errors import MissingExtraError, MissingInputError, OvforgeError
from ovforge.options.viewer import ExemplarsViewOptions, PairsViewOptions, ReviewAccess, ServeOptions
from ovforge.records.reporting import Progress, no_progress
from ovforge.records.run_layout import MANIFEST, check_run_name, has_lost_plan, run_command
from ovforge.viewer.source import PairSource

if TYPE_CHECKING:
    from ovforge.viewer.security import Access


def open_pairs(options: PairsViewOptions, *, progress: Progress = no_progress) -> PairSource:
    """The merged run, or else the run's folder with what is finished.

    Raises:
        MissingInputError: there is no such run.
    """
    from ovforge.viewer.merged_source import MergedSource
    from ovforge.viewer.unfinished_source import UnfinishedSource

    h5, annotations = options.merged
    if options.annotations is None:
        check_run_name(options.folder, options.name)
    if (h5.is_file() and annotations.is_file()) or options.annotations is not None:
        return MergedSource(options, progress=progress)
    if (options.run_folder / MANIFEST).is_file() or has_lost_plan(options.run_folder):
        return UnfinishedSource(options, progress=progress)
    if h5.is_file():
        hint = f"`{run_command('annotate', options.folder, options.name)}` writes it"
        raise MissingInputError(annotations, what="pairs JSON", hint=hint)
    if options.run_folder.is_dir():
        merge = run_command("merge", options.folder, options.name)
        hint = f"for partitions of other programs: `{merge}`, then `pairs annotate`"
        raise MissingInputError(options.run_folder / MANIFEST, what="the plan of a run", hint=hint)
    raise MissingInputError(h5, what="the merged images", hint="check the name, or give --folder=DIR")


def view_pairs(
    options: PairsViewOptions,
    serving: ServeOptions,
    review: ReviewAccess | None = None,
    *,
    announce: Callable[[str], None],
    progress: Progress = no_progress,
) -> None:
    """Serve the pages of a run until interrupted; `announce` gets the address.

    Raises:
        MissingExtraError: the extra `viewer` is not installed.
        MissingInputError: there is no such run.
        InputError: the port is taken.
    """
    require_viewer("pairs view")
    from ovforge.viewer.pages import render
    from ovforge.viewer.pairs_app import first_page, pairs_app
    from ovforge.viewer.review import ReviewPages
    from ovforge.viewer.serve import serve

    source = open_pairs(options, progress=progress)
    try:
        may = review or ReviewAccess()
        pages = ReviewPages(options.review)
        app = pairs_app(source, pages, _access(serving, from_elsewhere=may.writable), read_only=may.read_only)
        # The index is made and the pages are read before anybody waits for them; a damaged run gets its page, too.
        with contextlib.suppress(OvforgeError):
            render("pairs.html", **first_page(source, pages))
        serve(app, serving, announce=announce)
    finally:
        source.close()


def view_exemplars(
    options: ExemplarsViewOptions,
    serving: ServeOptions,
    *,
    announce: Callable[[str], None],
    progress: Progress = no_progress,
) -> None:
    """Serve the pages of an exemplar file until interrupted; `announce` gets the address.

    Raises:
        MissingExtraError: the extra `viewer` is not installed.
        MissingInputError, AnnotationFileError: the file is not there, or holds no exemplars.
        InputError: the port is taken.
    """
    require_viewer("exemplars view")
    from ovforge.viewer.exemplar_source import ExemplarSource
    from ovforge.viewer.exemplars_app import exemplars_app
    from ovforge.viewer.serve import serve

    source = ExemplarSource(options, progress=progress)
    try:
        access = replace(_access(serving), command="exemplars view FILE")
        serve(exemplars_app(source, access), serving, announce=announce)
    finally:
        source.close()


def _access(serving: ServeOptions, *, from_elsewhere: bool = False) -> Access:
    from ovforge.viewer.security import Access

    return Access(serving.allow_host, serving.host, serving.base_path, from_elsewhere=from_elsewhere)


def require_viewer(needed_for: str) -> None:
    """Refuse to go on without the libraries of the extra `viewer`.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("viewer", needed_for=needed_for) from error

"""The pages over an exemplar file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ovforge.records.exemplar import DATASETS, LVIS, VISUAL_GENOME
from ovforge.viewer.answers import BadAddressError, data, image, make_app, number, page
from ovforge.viewer.exemplar_crop import crop
from ovforge.viewer.exemplar_describe import Describer
from ovforge.viewer.exemplar_source import ExemplarClass, ExemplarSource
from ovforge.viewer.images import ByteCache
from ovforge.viewer.security import Access

SIDE = 288
LARGE_SIDE = 960
WHOLE_SIDE = 1600
"""The longest side of a crop among others, alone, and of a whole image."""
SHOWN = 60
"""Exemplars, or findings, that are handed out at once."""
SOURCES = {LVIS: "LVIS", "imagenet21k": "ImageNet-21K", VISUAL_GENOME: "Visual Genome"}
CHECKS = {
    "duplicates": "Near-duplicates",
    "across": "In train and val",
    "outliers": "Outliers",
    "confused": "Nearer to another text",
    "accuracy": "Accuracy",
}


def exemplars_app(source: ExemplarSource, access: Access | None = None) -> Starlette:
    """The application over one exemplar file. Addresses hold the places of classes and exemplars, never file names."""
    pages = ExemplarPages(source)
    return make_app(
        {
            "/": pages.index,
            "/api/class/{place:int}": pages.one,
            "/api/exemplar/{place:int}/{index:int}": pages.exemplar,
            "/api/check/{kind}": pages.check,
            "/crop/{place:int}/{index:int}": pages.crop,
        },
        title=source.name,
        access=access,
    )


class ExemplarPages:
    """What each address answers with."""

    def __init__(self, source: ExemplarSource) -> None:
        self._source = source
        self._crops = ByteCache()
        self._describe = Describer(source)

    def index(self, request: Request) -> Response:
        """The list of classes."""
        source = self._source
        rows = [self._describe.listed(entry) for entry in source.classes]
        findings = source.findings
        return page(
            "exemplars.html",
            name=source.name,
            sources=SOURCES,
            enough=source.enough,
            total=len(rows),
            short=sum(1 for row in rows if row["short"]),
            exemplars=sum(entry.total for entry in source.classes),
            frequencies=any(entry.frequency for entry in source.classes),
            flagged=any(row["flagged"] or row["nearer"] for row in rows),
            accuracies=any(entry.accuracy is not None for entry in source.classes),
            notes=source.notes,
            data={
                "name": source.name,
                "classes": rows,
                "sources": SOURCES,
                "enough": source.enough,
                "generation": source.generation,
                "check": None
                if findings is None
                else {
                    "model": str(findings.report.model.get("name", "")),
                    "exemplars": findings.report.exemplars,
                    "accuracy": findings.report.leave_one_out,
                    "kinds": {kind: {"title": CHECKS[kind], "count": len(self._found(kind))} for kind in CHECKS},
                },
            },
        )

    def one(self, request: Request) -> Response:
        """One class's exemplars of one source, a part of them."""
        entry = self._class(request)
        offset = number(request, "offset", 0, 1 << 40)
        chosen = self._of_source(entry, _wanted_source(request))
        shown = chosen[offset : offset + SHOWN]
        return data({"total": len(chosen), "why": entry.why, "exemplars": self._describe.exemplars(entry, shown)})

    def exemplar(self, request: Request) -> Response:
        """One exemplar, with those before and after it as the page has them: by source, in file order."""
        entry = self._class(request)
        index = self._index(request, entry)
        wanted = request.query_params.get("source", "")
        order = [place for dataset in DATASETS if wanted in ("", dataset) for place in self._of_source(entry, dataset)]
        at = order.index(index) if index in order else -1
        return data(
            {
                **self._describe.exemplars(entry, [index])[0],
                "previous": order[at - 1] if at > 0 else None,
                "next": order[at + 1] if 0 <= at < len(order) - 1 else None,
                "place": at + 1,
                "of": len(order),
            }
        )

    def check(self, request: Request) -> Response:
        """What `exemplars check` found, of one kind, a part of it."""
        kind: str = request.path_params["kind"]
        if self._source.findings is None:
            raise BadAddressError("there is no report of `exemplars check` on this file")
        if kind not in CHECKS:
            raise BadAddressError(f"check={kind[:40]!r}: not one of {', '.join(CHECKS)}")
        offset = number(request, "offset", 0, 1 << 40)
        found = self._found(kind)
        return data({"total": len(found), "found": [describe() for describe in found[offset : offset + SHOWN]]})

    def crop(self, request: Request) -> Response:
        """One exemplar cut out of its image where it lies, with its box drawn.

        `size` is `small`, `large`, or `whole` for the whole image; `box=0` leaves the box out.
        """
        entry = self._class(request)
        exemplar = self._source.exemplars(entry.position)[index := self._index(request, entry)]
        size = request.query_params.get("size", "small")
        sides = {"small": SIDE, "large": LARGE_SIDE, "whole": WHOLE_SIDE}
        if size not in sides:
            raise BadAddressError(f"size={size[:40]!r}: not one of {', '.join(sides)}")
        mark = request.query_params.get("box") != "0"
        content = self._crops.get(
            (entry.position, index, size, mark),
            lambda: crop(self._source.image(exemplar), exemplar, sides[size], whole=size == "whole", mark=mark),
        )
        return image(content, "image/jpeg")

    def _class(self, request: Request) -> ExemplarClass:
        place: int = request.path_params["place"]
        if place >= len(self._source.classes):
            raise BadAddressError(f"there is no class {place}")
        return self._source.classes[place]

    def _index(self, request: Request, entry: ExemplarClass) -> int:
        index: int = request.path_params["index"]
        if index >= entry.total:
            raise BadAddressError(f"class {entry.name} has no exemplar {index + 1:,}, it has {entry.total:,}")
        return index

    def _of_source(self, entry: ExemplarClass, dataset: str) -> list[int]:
        exemplars = self._source.exemplars(entry.position)
        return [index for index, exemplar in enumerate(exemplars) if exemplar.dataset == dataset]

    def _found(self, kind: str) -> list[Callable[[], dict[str, Any]]]:
        """What the check found of one kind, the worst first, each ready to be described."""
        findings, describe = self._source.findings, self._describe
        if findings is None:
            return []
        if kind == "outliers":
            return [partial(describe.outlier, each) for each in findings.outliers]
        if kind == "confused":
            return [partial(describe.confused, each) for each in findings.confused]
        if kind == "accuracy":
            return [partial(describe.accuracy, each) for each in findings.accuracies]
        return [
            partial(describe.duplicate, each)
            for each in findings.duplicates
            if kind == "duplicates" or each.found.across
        ]


def _wanted_source(request: Request) -> str:
    wanted = request.query_params.get("source", "")
    if wanted not in DATASETS:
        raise BadAddressError(f"source={wanted[:40]!r}: not one of {', '.join(DATASETS)}")
    return wanted

"""Which objects of pairs are followed, and the ids and tracks that they get. All of it in columns.

Order and ids are OVTrack's: annotation ids go on from the file's largest and are used up by objects that are skipped,
too, so that files compare whatever the filters; tracks go on from those of the videos of one frame, where every object
is a track, and so do videos.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.ordering import stable_order
from ovforge.options.tracks import PairObjects
from ovforge.records.reporting import Drops
from ovforge.records.run_layout import variant_name
from ovforge.synthesis.annotated_columns import ImageColumns, ObjectColumns
from ovforge.synthesis.second_views import SecondViews

PAIR_MIN_AREA = 64.0 * 64.0
"""Square pixels; objects of a pair have to be larger (OVTrack)."""
MIN_MOVED_AREA = 32.0 * 32.0
"""Square pixels; a second view's object has to be at least so large, and its box a pixel wide and high (OVTrack)."""
NOT_IN_BOTH = "is not in every frame of its pair"
NO_OBJECT = "has no object in two of its frames"
_LAST = np.iinfo(np.int64).max

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rejected:
    """What rules over scores say of the second views' objects.

    Attributes:
        broken: for each entry the first rule that it breaks, or -1.
        reasons: what is said of those that break each rule.
        ignore: the rejected stay, as ignore regions.
    """

    broken: Ints
    reasons: tuple[str, ...]
    ignore: bool = False


@dataclass(frozen=True)
class Rules:
    """Which objects are followed.

    Attributes:
        min_area: square pixels; the annotated area has to be larger.
        min_fidelity: what repainted objects need at least.
        objects: which objects a pair has.
        empty_pairs: keep a pair that has no object to follow, as OVTrack does.
        first_track, first_video: the smallest ids. OVTrack starts at 0; readers with pycocotools' way of matching take
            0 for "no match".
    """

    min_area: float
    min_fidelity: float
    objects: PairObjects
    empty_pairs: bool
    first_track: int
    first_video: int
    rejected: Rejected | None = None
    """Which objects of second views their scores reject."""


class Tracks(NamedTuple):
    """The objects of the videos of pairs, in the order of the output, and which videos there are."""

    is_original: Bools
    """Whether it is in the image itself."""
    row: Ints
    """Its record: a row of the annotation file's table, or else of the second views' entries."""
    original_row: Ints
    """The record of its original: a row of the annotation file's table."""
    id: Ints
    image_id: Ints
    track: Ints
    video: Ints
    number: Ints
    """Which of the run's images it comes from."""
    kept: Ints
    """Which of the run's images have a video."""
    ignored: Bools
    """Whether it is an ignore region, because its scores or its second view's reject it."""


def follow(images: ImageColumns, objects: ObjectColumns, views: SecondViews, rules: Rules, drops: Drops) -> Tracks:
    """Decide which objects are followed, and number them.

    Every frame of a pair has as many ids as objects were followed into it.
    """
    table, entries, variants, count = objects.table, views.entries, views.variants, len(views.used)
    is_followed = table["area"][objects.rows] > rules.min_area
    if rules.objects is PairObjects.BOTH:
        is_followed &= _inside(objects, images, views)
    followed, number = objects.rows[is_followed], objects.number[is_followed]
    track = rules.first_track + len(objects.rows) + np.arange(len(followed))

    original = _originals(entries.id, entries.view // max(variants, 1), table["id"][followed], number)
    order = np.lexsort((np.where(original >= 0, original, _LAST), entries.view))
    names = _EntryNames(images, views, order)
    kept = _kept(names, original, rules, drops, order)
    kept_original = np.ones(len(followed), np.bool_)
    if rules.objects is PairObjects.BOTH:
        kept_original = np.bincount(original[kept], minlength=len(followed)) == variants
        lonely = kept & ~np.append(kept_original, False)[original]
        kept &= ~lonely
        lost = table["id"][followed[~kept_original]]
        drops.add_all("object", NOT_IN_BOTH, [f"annotation {one}" for one in lost.tolist()])
    has_video = np.ones(count, np.bool_)
    if not rules.empty_pairs:
        has_video[:] = False
        has_video[number[original[kept]]] = True
        kept_original &= has_video[number]
        drops.add_all("pair", NO_OBJECT, [images.names[position] for position in views.used[~has_video].tolist()])

    ignored = _ignored(names, kept, rules, drops)
    ignored_original = np.zeros(len(followed) + 1, np.bool_)
    if rules.objects is PairObjects.BOTH:  # in every frame, so that readers count as many objects in each
        ignored_original[original[ignored]] = True
        ignored = kept & ignored_original[original]

    of_image = np.bincount(number, minlength=count)
    of_view = np.bincount(entries.view, minlength=count * variants).reshape(count, variants)
    if rules.empty_pairs:
        _count_empty(images, views, of_view, of_image, drops)
    # The original put the image's own boxes where nothing is noted of a view.
    sizes = np.concatenate([of_image[:, None], np.where(of_view == 0, of_image[:, None], of_view)], axis=1).ravel()
    first_id = objects.largest_id + 1 + np.cumsum(sizes) - sizes
    frame_of_original = number * (variants + 1)
    frame_of_entry = entries.view + entries.view // max(variants, 1) + 1
    id_of_original = first_id[frame_of_original] + _rank(number)
    id_of_entry = np.empty(len(order), np.int64)
    id_of_entry[order] = first_id[frame_of_entry[order]] + _rank(entries.view[order])

    first, second = np.flatnonzero(kept_original), order[kept[order]]
    frame = np.concatenate([frame_of_original[first], frame_of_entry[second]])
    in_order = stable_order(frame)

    def column(of_originals: Ints, of_entries: Ints) -> Ints:
        return np.concatenate([of_originals, of_entries])[in_order]

    frame = frame[in_order]
    return Tracks(
        is_original=in_order < len(first),
        row=column(followed[first], second),
        original_row=column(followed[first], followed[original[second]]),
        id=column(id_of_original[first], id_of_entry[second]),
        image_id=images.largest_id + 1 + frame,
        track=column(track[first], track[original[second]]),
        video=rules.first_video + count + frame // (variants + 1),
        number=frame // (variants + 1),
        kept=np.flatnonzero(has_video),
        ignored=np.concatenate([ignored_original[first], ignored[second]])[in_order],
    )


def _inside(objects: ObjectColumns, images: ImageColumns, views: SecondViews) -> Bools:
    """Which objects have a box that readers keep: a pixel wide and high, and not outside the image."""
    box = objects.column("bbox")
    size = np.column_stack([images.table[side][views.used][objects.number] for side in ("width", "height")])
    low, high = np.maximum(box[:, :2], 0), np.minimum(box[:, :2] + box[:, 2:], size)
    inside: Bools = (box[:, 2:] >= 1).all(axis=1) & (high > low).all(axis=1)
    return inside


def _originals(entry_id: Ints, entry_number: Ints, ids: Ints, number: Ints) -> Ints:
    """For each entry the index of its original among the followed objects of its image, or -1."""
    if not len(ids):
        return np.full(len(entry_id), -1)
    by_id = stable_order(ids)
    found = np.searchsorted(ids[by_id], entry_id)
    found[found == len(ids)] = 0
    original: Ints = by_id[found]
    return np.where((ids[original] == entry_id) & (number[original] == entry_number), original, -1)


def _rank(group: Ints) -> Ints:
    """0, 1, 2, ... within each group of equal neighbours."""
    starts = np.flatnonzero(np.append(True, np.diff(group) != 0)) if len(group) else np.zeros(0, np.int64)
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


def _kept(names: _EntryNames, original: Ints, rules: Rules, drops: Drops, order: Ints) -> Bools:
    entries = names.views.entries
    kept = np.ones(len(original), np.bool_)
    small = (entries.box[:, 2:] < 1).any(axis=1) | (entries.area < MIN_MOVED_AREA)
    for reason, without in (
        (f"comes from no object larger than {rules.min_area:g} square pixels", original < 0),
        ("has left the image", entries.area <= 0),
        (f"is smaller than {MIN_MOVED_AREA:g} square pixels in the second view", small),
        (f"has a fidelity below {rules.min_fidelity:g}", entries.fidelity < rules.min_fidelity),
        *_rejections(rules.rejected),
    ):
        dropped = order[(kept & without)[order]]
        kept[dropped] = False
        drops.add_all("object", reason, names.of(dropped))
    return kept


def _rejections(rejected: Rejected | None) -> Iterator[tuple[str, Bools]]:
    if rejected is not None and not rejected.ignore:
        yield from ((reason, rejected.broken == number) for number, reason in enumerate(rejected.reasons))


def _ignored(names: _EntryNames, kept: Bools, rules: Rules, drops: Drops) -> Bools:
    """Which of the kept objects of second views become ignore regions."""
    rejected = rules.rejected
    if rejected is None or not rejected.ignore:
        return np.zeros(len(kept), np.bool_)
    for number, reason in enumerate(rejected.reasons):
        rows = names.rows[(kept & (rejected.broken == number))[names.rows]]
        drops.warn_all("object", f"is an ignore region: {reason}", names.of(rows))
    return kept & (rejected.broken >= 0)


@dataclass(frozen=True)
class _EntryNames(Collection[str]):
    """Names of objects in second views, made when they are asked for."""

    images: ImageColumns
    views: SecondViews
    rows: Ints

    def of(self, rows: Ints) -> _EntryNames:
        """The names of these entries."""
        return replace(self, rows=rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        views = self.views
        for row in self.rows:
            number, variant = divmod(int(views.entries.view[row]), views.variants)
            view = variant_name(self.images.names[views.used[number]], variant)
            yield f"annotation {views.entries.id[row]} in {view}"

    def __contains__(self, name: object) -> bool:
        return any(name == one for one in self)


def _count_empty(images: ImageColumns, views: SecondViews, of_view: Ints, of_image: Ints, drops: Drops) -> None:
    reason = "has no boxes: nothing is noted of its objects"
    for number, variant in np.argwhere((of_view == 0) & (of_image > 0)[:, None]).tolist():
        drops.warn("second view", reason, variant_name(images.names[views.used[number]], variant))

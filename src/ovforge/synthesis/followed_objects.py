"""Which objects of pairs are followed, and the ids and tracks that they get. All of it in columns.

Order and ids are OVTrack's: annotation ids go on from the file's largest and are used up by objects that are skipped,
too, so that files compare whatever the filters; tracks go on from those of the videos of one frame, where every object
is a track, and so do videos.

An annotated object that can be seen in a frame and is not followed there would teach a detector that it is background.
Where the run knows all that is seen, it becomes an ignore region (`iscrowd` 1), as crowd regions do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.ordering import stable_order
from ovforge.options.pairs import PAIR_FRAMES
from ovforge.options.tracks import PairObjects
from ovforge.records.reporting import Drops
from ovforge.records.run_layout import view_name
from ovforge.synthesis.annotated_columns import ImageColumns, ObjectColumns
from ovforge.synthesis.second_views import SecondViews

PAIR_MIN_AREA = 64.0 * 64.0
"""Square pixels; objects of a pair have to be larger (OVTrack)."""
MIN_MOVED_AREA = 32.0 * 32.0
"""Square pixels; a second view's object has to be at least so large, and its box a pixel wide and high (OVTrack)."""
IGNORED = ": an ignore region where it is seen"
NOT_IN_BOTH = "is not in every frame of its pair"
OUT_OF_SIGHT = "is out of sight: left the image or covered"
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
        ignore: the rejected become ignore regions, whether others that are not followed do or not.
    """

    broken: Ints
    reasons: tuple[str, ...]
    ignore: bool


@dataclass(frozen=True)
class Rules:
    """Which objects are followed.

    Attributes:
        min_area: square pixels; the annotated area has to be larger.
        min_fidelity: what repainted objects need at least.
        min_visibility: what objects in second views need at least.
        min_moved_area: square pixels; what objects in second views need at least.
        regions: whether objects that are seen and not followed become ignore regions.
        objects: which objects a pair has.
        empty_pairs: keep a pair that has no object to follow, as OVTrack does.
        first_track, first_video: the smallest ids. OVTrack starts at 0; readers with pycocotools' way of matching take
            0 for "no match".
    """

    min_area: float
    min_fidelity: float
    min_visibility: float
    min_moved_area: float
    regions: bool
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
    is_region: Bools
    """Whether it is an ignore region."""


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
    kept = _kept(_EntryNames(images, views, order), original, rules, drops, order)
    kept_original = np.ones(len(followed), np.bool_)
    live = views.is_live
    if rules.objects is PairObjects.BOTH and views.frames == PAIR_FRAMES:  # in clips they leave and come back
        kept_original = np.bincount(original[kept], minlength=len(followed)) == live.sum(axis=1)[number]
        lonely = kept & ~np.append(kept_original, False)[original]
        kept &= ~lonely
        lost = table["id"][followed[~kept_original]]
        drops.add_all(
            "object", NOT_IN_BOTH + (IGNORED if rules.regions else ""), [f"annotation {one}" for one in lost.tolist()]
        )
    is_wanted: Bools = np.asarray(live.any(axis=1)) if variants else np.ones(count, np.bool_)
    has_video = is_wanted.copy()
    if not rules.empty_pairs:
        has_video[:] = False
        has_video[number[original[kept]]] = True
        without = views.used[is_wanted & ~has_video]
        drops.add_all("pair", NO_OBJECT, [images.names[position] for position in without.tolist()])
    kept_original &= has_video[number]

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
    regions = _Regions.none()
    rejected = rules.rejected
    if rules.regions or (rejected is not None and rejected.ignore):
        not_regions, not_kept = followed[first], order[~kept[order]]
        if rejected is not None and not rules.regions:  # the rejected alone, and where they come from
            not_kept = not_kept[(rejected.broken[not_kept] >= 0) & (original[not_kept] >= 0)]
            lost = np.setdiff1d(followed[original[not_kept]], not_regions)
            not_regions = np.setdiff1d(np.append(objects.rows, objects.crowd_rows), lost)
        elif rejected is not None and not rejected.ignore:
            not_kept = not_kept[rejected.broken[not_kept] < 0]
        next_id = int(first_id[-1] + sizes[-1]) if len(sizes) else objects.largest_id + 1
        track_of_row = np.full(len(table["id"]), -1)
        track_of_row[followed] = track
        next_track = rules.first_track + len(objects.rows) + len(followed)
        regions = _regions(
            objects,
            views,
            not_regions,
            not_kept,
            has_video=has_video,
            track_of_row=track_of_row,
            next_id=next_id,
            next_track=next_track,
        )
    frame = np.concatenate(
        [
            frame_of_original[first],
            regions.number * (variants + 1),
            frame_of_entry[second],
            frame_of_entry[regions.entries],
        ]
    )
    in_order = stable_order(frame)

    def column(of_originals: Ints, of_regions: Ints, of_entries: Ints, of_region_entries: Ints) -> Ints:
        return np.concatenate([of_originals, of_regions, of_entries, of_region_entries])[in_order]

    frame = frame[in_order]
    originals = len(first) + len(regions.rows)
    return Tracks(
        is_original=in_order < originals,
        row=column(followed[first], regions.rows, second, regions.entries),
        original_row=column(followed[first], regions.rows, followed[original[second]], regions.entry_rows),
        id=column(id_of_original[first], regions.ids, id_of_entry[second], id_of_entry[regions.entries]),
        image_id=images.largest_id + 1 + frame,
        track=column(track[first], regions.tracks, track[original[second]], regions.entry_tracks),
        video=rules.first_video + count + frame // (variants + 1),
        number=frame // (variants + 1),
        kept=np.flatnonzero(has_video),
        is_region=((in_order >= len(first)) & (in_order < originals)) | (in_order >= originals + len(second)),
    )


class _Regions(NamedTuple):
    """Ignore regions: in the images themselves, and in second views."""

    rows: Ints
    """Of the annotation file's table."""
    number: Ints
    """Which of the run's images each is in."""
    ids: Ints
    tracks: Ints
    entries: Ints
    """Of the second views' entries."""
    entry_rows: Ints
    """Their originals' rows."""
    entry_tracks: Ints

    @staticmethod
    def none() -> _Regions:
        """No regions at all."""
        return _Regions(*(np.zeros(0, np.int64) for _ in _Regions._fields))


def _regions(
    objects: ObjectColumns,
    views: SecondViews,
    followed: Ints,
    not_kept: Ints,
    *,
    has_video: Bools,
    track_of_row: Ints,
    next_id: int,
    next_track: int,
) -> _Regions:
    """What is seen in the frames of pairs and is not followed in them. One that is followed elsewhere has its track.

    Args:
        followed: rows of the objects that are followed, in the images themselves.
        not_kept: entries of objects that are not followed in their second view, in the order of the output.
        track_of_row: the track of each row of the annotation file's table, -1 for none; new ones are entered.
    """
    table, entries, variants = objects.table, views.entries, max(views.variants, 1)
    rows, number = np.append(objects.rows, objects.crowd_rows), np.append(objects.number, objects.crowd_number)
    number_of_row = np.full(len(table["id"]), -1)
    number_of_row[rows] = number
    is_listed = np.zeros(len(table["id"]), np.bool_)
    is_listed[rows] = True
    is_followed = np.zeros(len(table["id"]), np.bool_)
    is_followed[followed] = True
    is_region = has_video[number] & ~is_followed[rows]
    rows, number = rows[is_region], number[is_region]
    by_number = stable_order(number)
    rows, number = rows[by_number], number[by_number]
    new = track_of_row[rows] < 0
    track_of_row[rows[new]] = next_track + np.arange(int(new.sum()))

    entry_number = entries.view // variants
    is_seen = (entries.area > 0) & has_video[entry_number] & views.is_live.ravel()[entries.view]
    seen = not_kept[is_seen[not_kept]]
    entry_rows = _rows_of(table["id"], entries.id[seen])
    there = is_listed[entry_rows] & (number_of_row[entry_rows] == entry_number[seen]) & (track_of_row[entry_rows] >= 0)
    seen, entry_rows = seen[there], entry_rows[there]
    return _Regions(
        rows, number, next_id + np.arange(len(rows)), track_of_row[rows], seen, entry_rows, track_of_row[entry_rows]
    )


def _rows_of(ids: Ints, wanted: Ints) -> Ints:
    """The rows with these ids; any row for an id that is not there."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64)
    by_id = stable_order(ids)
    found = np.minimum(np.searchsorted(ids[by_id], wanted), len(ids) - 1)
    rows: Ints = by_id[found]
    return rows


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
    kept[entries.is_region] = False  # it was never said that these are followed
    kept &= names.views.is_live.ravel()[entries.view]
    small = (entries.box[:, 2:] < 1).any(axis=1) | (entries.area < rules.min_moved_area)
    ignored = IGNORED if rules.regions else ""
    left = "has left the image" if names.views.frames == PAIR_FRAMES else OUT_OF_SIGHT
    for reason, without in (
        (f"comes from no object larger than {rules.min_area:g} square pixels{ignored}", original < 0),
        (left, entries.area <= 0),
        (f"is smaller than {rules.min_moved_area:g} square pixels in the second view{ignored}", small),
        (f"has a fidelity below {rules.min_fidelity:g}{ignored}", entries.fidelity < rules.min_fidelity),
        (f"has a visibility below {rules.min_visibility:g}{ignored}", entries.visibility < rules.min_visibility),
        *_rejections(rules.rejected),
    ):
        dropped = order[(kept & without)[order]]
        kept[dropped] = False
        drops.add_all("object", reason, names.of(dropped))
    return kept


def _rejections(rejected: Rejected | None) -> Iterator[tuple[str, Bools]]:
    if rejected is not None:
        ignored = IGNORED if rejected.ignore else ""
        yield from ((f"{reason}{ignored}", rejected.broken == rule) for rule, reason in enumerate(rejected.reasons))


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
            view = view_name(self.images.names[views.used[number]], variant, views.frames)
            yield f"annotation {views.entries.id[row]} in {view}"

    def __contains__(self, name: object) -> bool:
        return any(name == one for one in self)


def _count_empty(images: ImageColumns, views: SecondViews, of_view: Ints, of_image: Ints, drops: Drops) -> None:
    reason = "has no boxes: nothing is noted of its objects"
    for number, variant in np.argwhere((of_view == 0) & (of_image > 0)[:, None]).tolist():
        drops.warn("second view", reason, view_name(images.names[views.used[number]], variant, views.frames))

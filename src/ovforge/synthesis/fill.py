"""Completing an image where pixels are missing, without a model: background where objects were.

Each hole is healed from elsewhere in the image, as a retoucher's healing brush does it (Perez et al. 2003; Georgiev
2004): the translation is searched whose surroundings fit the hole's best, its texture is copied, and the smooth
difference at the rim is spread over the hole and added, so that no seam is left. What no translation reaches is
filled smoothly from all sides (push-pull, Gortler et al. 1996) with a grain like the image's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GRID = 160
"""Translations are searched on the image shrunk to a longest side of at most so many cells."""
MOST_HOLES = 8
"""Holes healed from elsewhere, largest first; further ones are small and are filled smoothly."""
MOST_PATCHES = 3
"""Translations tried for one hole, each for what the ones before have not reached."""
SMALLEST_HOLE = 6
"""Cells; smaller holes are filled smoothly."""

_RIM = 3
"""Cells around a hole that a translation has to fit."""
_RIM_POINTS, _FINE_RIM_POINTS, _HOLE_POINTS, _TRANSLATIONS = 28, 80, 20, 120
_FOLLOWED = 3
"""So many of the best translations are looked at more closely."""
_CLOSE_ENOUGH = 2500
"""Mean squared difference at the rim, summed over the channels."""
_LEAST_COVER, _LEAST_RIM = 0.4, 0.4
"""The shares of the hole and of its rim that a translation has to reach."""

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def complete_background(image: Image, missing: Bools | Mask) -> Image:
    """Complete the missing pixels of an image; the others stay as they are.

    Deterministic: the same image and mask give the same pixels. Nothing of what the missing pixels hold gets into
    the result.

    Args:
        image: uint8 RGB (height, width, 3); it is not changed.
        missing: bool or uint8 (height, width), nonzero where a pixel is missing.

    Returns:
        uint8 RGB (height, width, 3), a new array.

    Raises:
        ValueError: the shapes or types do not belong together.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or missing.shape != image.shape[:2]:
        raise ValueError(
            f"an image uint8 (height, width, 3) and its mask (height, width) are needed, not {image.dtype} "
            f"{image.shape} and {missing.shape}"
        )
    hole = (missing != 0).astype(np.uint8) * np.uint8(255)
    count = cv2.countNonZero(hole)
    if count == 0:
        return image.copy()
    if count == hole.size:
        return np.full_like(image, 128)
    result: Image = np.zeros_like(image)
    cv2.copyTo(image, cv2.bitwise_not(hole), result)
    _Completion(result, hole).run()
    return result


class _Completion:
    """An image while its holes are filled: at its own size, and shrunk to cells, in which translations are searched.

    Attributes:
        image: uint8 RGB, black where it is missing; it is filled in place.
        hole: uint8, 255 where it is still missing.
        known: per cell of the image as it is now: the share of its pixels that are known.
        colours: per cell the mean of its known pixels.
        sources: what translations may copy from, in cells: the pixels that were there from the start.
    """

    def __init__(self, image: Image, missing: Mask) -> None:
        self.image, self.missing, self.hole = image, missing, missing.copy()
        height, width = missing.shape
        self.cell = max(2, -(-max(height, width) // GRID))
        self.rows, self.columns = -(-height // self.cell), -(-width // self.cell)
        self.known: Floats = np.zeros((self.rows, self.columns), np.float32)
        self.colours: Floats = np.zeros((self.rows, self.columns, 3), np.float32)
        self.refresh(0, 0, self.rows, self.columns)
        self.sources = _Sources(self.known, self.colours)

    def run(self) -> None:
        """Heal the larger holes, then fill what is left."""
        holes = (self.known < 1).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=8)
        by_size = sorted(range(1, count), key=lambda label: -int(stats[label, cv2.CC_STAT_AREA]))
        for label in by_size[:MOST_HOLES]:
            x, y, width, height, area = (int(v) for v in stats[label])
            if area < SMALLEST_HOLE:
                break
            hole: _Hole | None = _Hole(labels[y : y + height, x : x + width] == label, y, x)
            for _ in range(MOST_PATCHES):
                if hole is None or (translation := self.search(hole)) is None:
                    break
                hole = self.heal(hole, translation)
        if cv2.countNonZero(self.hole):
            self.fill_smoothly()

    def refresh(self, top: int, left: int, bottom: int, right: int) -> None:
        """Bring the cells [top:bottom, left:right] up to date with the image."""
        size = (right - left, bottom - top)
        here = np.s_[top * self.cell : bottom * self.cell, left * self.cell : right * self.cell]
        share = 1 - self._shrink(self.hole[here], size) / np.float32(255)
        self.known[top:bottom, left:right] = share
        # Missing pixels are black: the mean of all is the known ones' mean times their share.
        self.colours[top:bottom, left:right] = (
            self._shrink(self.image[here], size) / np.maximum(share, 1 / 64)[..., None]
        )

    def _shrink(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
        below, beside = size[1] * self.cell - pixels.shape[0], size[0] * self.cell - pixels.shape[1]
        if below or beside:
            pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8)
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)

    def search(self, hole: _Hole) -> tuple[int, int] | None:
        """The translation (down, right), in pixels, whose source fits a hole best; None if none is good enough."""
        top, left, (height, width) = hole.top, hole.left, hole.cells.shape
        y, x = hole.rim(_RIM, self.rows, self.columns)
        is_known = self.known[y, x] >= 1
        y, x = y[is_known], x[is_known]
        if not len(y):
            return None
        inner_y, inner_x = (_some(p, _HOLE_POINTS) for p in np.nonzero(hole.cells))
        inner = inner_y + top, inner_x + left
        coarse, fine = ((_some(y, most), _some(x, most)) for most in (_RIM_POINTS, _FINE_RIM_POINTS))
        fit = _Fit(self.sources, coarse, self.colours[coarse], inner)
        # A part of the source may lie beyond the image: that part of the hole is then healed from elsewhere.
        lowest_y, highest_y = -top - height // 3, self.rows - top - height + height // 3
        lowest_x, highest_x = -left - width // 3, self.columns - left - width + width // 3
        step = max(1, round(((highest_y - lowest_y + 1) * (highest_x - lowest_x + 1) / _TRANSLATIONS) ** 0.5))
        # Multiples of the step, zero among them: the world is layered, so what fits best is often right beside.
        down = np.arange(-(-lowest_y // step) * step, highest_y + 1, step)
        right = np.arange(-(-lowest_x // step) * step, highest_x + 1, step)
        best = fit.best(np.repeat(down, len(right)), np.tile(right, len(down)), _FOLLOWED)
        near = np.arange(-1, 2)
        while len(best) and step > 1:
            step = (step + 1) // 2
            if step <= 2:
                fit = _Fit(self.sources, fine, self.colours[fine], inner)
            down = np.clip(best[:, :1] + np.repeat(near, 3) * step, lowest_y, highest_y).ravel()
            right = np.clip(best[:, 1:] + np.tile(near, 3) * step, lowest_x, highest_x).ravel()
            best = fit.best(down, right, _FOLLOWED if step > 2 else 1)
        if not len(best):
            return None
        return self.refine(*fine, (int(best[0, 0]) * self.cell, int(best[0, 1]) * self.cell))

    def refine(self, rows: Ints, columns: Ints, translation: tuple[int, int]) -> tuple[int, int]:
        """The translation within a cell of `translation` at which edges run on best through the cells of the rim."""
        height, width = self.hole.shape
        y = np.minimum(rows * self.cell + self.cell // 2, height - 1)
        x = np.minimum(columns * self.cell + self.cell // 2, width - 1)
        near = np.arange(-self.cell, self.cell + 1, max(1, self.cell // 2))
        down, right = np.repeat(near, len(near)) + translation[0], np.tile(near, len(near)) + translation[1]
        from_y, from_x = y[:, None] + down, x[:, None] + right
        inside = (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
        flat = np.where(inside, from_y * width + from_x, 0)
        weight = (inside & (self.missing.reshape(-1)[flat] == 0)).astype(np.float32)
        total = np.maximum(weight.sum(axis=0), 1)
        own = self.image[y, x].astype(np.float32)
        difference = (self.image.reshape(-1, 3)[flat].astype(np.float32) - own[:, None]) * weight[..., None]
        mean = difference.sum(axis=0) / total[:, None]
        cost = np.einsum("ncd,ncd->c", difference, difference) / total - 0.6 * np.einsum("cd,cd->c", mean, mean)
        cost[total < 0.8 * total.max()] = np.inf
        best = int(cost.argmin())
        return int(down[best]), int(right[best])

    def heal(self, hole: _Hole, translation: tuple[int, int]) -> _Hole | None:
        """Fill a hole from a translated source; what is left of it, if it is enough for another translation."""
        c, (height, width) = self.cell, self.hole.shape
        top, left, bottom, right = hole.with_rim(self.rows, self.columns)
        size = (right - left, bottom - top)
        region = np.s_[top * c : bottom * c, left * c : right * c]
        target, missing = self.image[region], self.hole[region]

        source, valid = np.zeros_like(target), np.zeros_like(missing)
        from_y, from_x = top * c + translation[0], left * c + translation[1]
        a, b = max(0, -from_y), min(target.shape[0], height - from_y)
        d, e = max(0, -from_x), min(target.shape[1], width - from_x)
        if a >= b or d >= e:
            return None
        source[a:b, d:e] = self.image[from_y + a : from_y + b, from_x + d : from_x + e]
        cv2.bitwise_not(self.missing[from_y + a : from_y + b, from_x + d : from_x + e], valid[a:b, d:e])

        # Where both are known, how they differ, cell by cell; the smooth course of that is added to the source.
        both = ((self.known[top:bottom, left:right] >= 1) & (self._shrink(valid, size) == 255)).astype(np.float32)
        difference = (self.colours[top:bottom, left:right] - self._shrink(source, size) + 128) * both[..., None]
        course = np.clip(push_pull(difference, both), 0, 255).astype(np.uint8)
        course = cv2.resize(course, (size[0] * c, size[1] * c), interpolation=cv2.INTER_LINEAR)
        course = course[: target.shape[0], : target.shape[1]]
        healed = cv2.addWeighted(source, 1, course, 1, -128)

        mine = cv2.resize(
            hole.padded(top, left, bottom, right), (size[0] * c, size[1] * c), interpolation=cv2.INTER_NEAREST
        )[: target.shape[0], : target.shape[1]]
        filled = mine & missing & valid
        cv2.copyTo(healed, filled, target)
        cv2.bitwise_xor(missing, filled, missing)
        self.refresh(top, left, bottom, right)

        rows, columns = hole.cells.shape
        left_over = hole.cells & (self.known[hole.top : hole.top + rows, hole.left : hole.left + columns] < 1)
        enough = SMALLEST_HOLE <= np.count_nonzero(left_over) < np.count_nonzero(hole.cells)
        return _Hole(left_over, hole.top, hole.left) if enough else None

    def fill_smoothly(self) -> None:
        """Fill what is left from all sides, with a grain like the image's own."""
        c = self.cell
        smooth = push_pull(self.colours * self.known[..., None], self.known)
        smooth = cv2.GaussianBlur(smooth, (0, 0), 1.0)
        x, y, width, height = cv2.boundingRect((self.known < 1).astype(np.uint8))
        here = np.s_[y * c : (y + height) * c, x * c : (x + width) * c]
        target, missing = self.image[here], self.hole[here]
        # A cell more at each side, so that interpolation has its neighbours.
        around = cv2.copyMakeBorder(smooth, 1, 1, 1, 1, cv2.BORDER_REPLICATE)[y : y + height + 2, x : x + width + 2]
        large = cv2.resize(
            np.clip(np.rint(around), 0, 255).astype(np.uint8),
            ((width + 2) * c, (height + 2) * c),
            interpolation=cv2.INTER_LINEAR,
        )[c : c + target.shape[0], c : c + target.shape[1]]
        grain = _grain(*missing.shape)
        filled = cv2.addWeighted(large, 1, grain, self.grain() / _GRAIN_LEVEL, -128 * self.grain() / _GRAIN_LEVEL)
        cv2.copyTo(filled, missing, target)
        missing[:] = 0

    def grain(self) -> float:
        """Standard deviation of the finest detail, in the smoother half of the known image."""
        luma = cv2.cvtColor(self.image[::4], cv2.COLOR_RGB2GRAY).astype(np.int16)
        detail = np.abs(2 * luma[:, 1:-1:4] - luma[:, :-2:4] - luma[:, 2::4])
        known = self.missing[::4, 1:-1:4] == 0
        values = detail[known]
        return min(float(np.median(values)) / 1.65, _GRAIN_LEVEL) if values.size else 0.0


@dataclass(frozen=True)
class _Hole:
    """Cells that are missing, as a window of the grid whose upper left cell is (`top`, `left`)."""

    cells: Bools
    top: int
    left: int

    def with_rim(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the hole and its rim."""
        height, width = self.cells.shape
        return (
            max(self.top - _RIM, 0),
            max(self.left - _RIM, 0),
            min(self.top + height + _RIM, rows),
            min(self.left + width + _RIM, columns),
        )

    def padded(self, top: int, left: int, bottom: int, right: int) -> Mask:
        """The hole in a larger window, 255 or 0."""
        window = np.zeros((bottom - top, right - left), np.uint8)
        height, width = self.cells.shape
        window[self.top - top : self.top - top + height, self.left - left : self.left - left + width] = self.cells
        return window * np.uint8(255)

    def rim(self, reach: int, rows: int, columns: int) -> tuple[Ints, Ints]:
        """Rows and columns of the cells around the hole, up to `reach` away."""
        top, left, bottom, right = self.with_rim(rows, columns)
        inner = self.padded(top, left, bottom, right)
        around = cv2.dilate(inner, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) ^ inner
        y, x = np.nonzero(around)
        return y + top, x + left


class _Sources:
    """Where translations copy from: cells in a wide frame of unknown ones, so that they may lead out of the image."""

    def __init__(self, known: Floats, colours: Floats) -> None:
        rows, columns = known.shape
        self.pad = pad = max(rows, columns) // 2 + _RIM + 1
        self.stride = columns + 2 * pad
        framed = np.zeros((rows + 2 * pad, self.stride), np.float32)
        framed[pad : pad + rows, pad : pad + columns] = known >= 1
        self.known = framed.ravel()
        coloured = np.zeros((*framed.shape, 3), np.float32)
        coloured[pad : pad + rows, pad : pad + columns] = colours * (known >= 1)[..., None]
        self.colours = coloured.reshape(-1, 3)

    def at(self, rows: Ints, columns: Ints) -> Ints:
        """Positions of cells."""
        return np.asarray((rows + self.pad) * self.stride + columns + self.pad, np.int64)


class _Fit:
    """How well translations fit one hole."""

    def __init__(self, sources: _Sources, rim: tuple[Ints, Ints], colours: Floats, hole: tuple[Ints, Ints]) -> None:
        self.sources, self.own = sources, colours
        self.rim, self.hole = sources.at(*rim)[:, None], sources.at(*hole)[:, None]
        self.own_spread = float(colours.var(axis=0).sum())

    def best(self, down: Ints, right: Ints, most: int) -> Ints:
        """The best of the translations, at most so many, best first: (n, 2) cells. None of them reaches too little."""
        known, colours = self.sources.known, self.sources.colours
        shift = down * self.sources.stride + right
        reached = known.take(self.rim + shift)
        total = reached.sum(axis=0)
        difference = colours.take(self.rim + shift, axis=0)
        difference -= self.own[:, None]
        difference *= reached[..., None]
        count = np.maximum(total, 1)
        mean = difference.sum(axis=0) / count[:, None]
        squared = np.einsum("ncd,ncd->c", difference, difference) / count
        inner = known.take(self.hole + shift).sum(axis=0)
        source = colours.take(self.hole + shift, axis=0)
        count = np.maximum(inner, 1)
        middle = source.sum(axis=0) / count[:, None]
        spread = np.einsum("ncd,ncd->c", source, source) / count - np.einsum("cd,cd->c", middle, middle)
        cover, rim_cover = inner / len(self.hole), total / len(self.rim)
        # Another brightness counts little, it is corrected; a source busier than the rim may hold a thing of its own.
        cost = squared - 0.6 * np.einsum("cd,cd->c", mean, mean)
        cost += 0.4 * np.maximum(spread - self.own_spread, 0)
        cost += 4000 * (1 - cover) + 1500 * (1 - rim_cover) + 2.0 * np.hypot(down, right)
        # Two places of one texture differ by twice its variance.
        fits = squared < _CLOSE_ENOUGH + 2 * self.own_spread
        cost[(cover < _LEAST_COVER) | (rim_cover < _LEAST_RIM) | ~fits] = np.inf
        order = np.argsort(cost, kind="stable")[:most]
        order = order[np.isfinite(cost[order])]
        return np.stack([down[order], right[order]], axis=1)


def push_pull(values: Floats, weight: Floats) -> Floats:
    """Fill a small array smoothly from where its weight is; 128 where it is nowhere.

    Args:
        values: float32 (height, width, 3), already times the weight.
        weight: float32 (height, width), 0 to 1.
    """
    return _push_pull(np.dstack([values, weight]))[..., :3]


def _push_pull(weighted: Floats) -> Floats:
    """The same of (height, width, 4), the weight being the last channel."""
    height, width = weighted.shape[:2]
    if height == width == 1:
        weight = weighted[..., 3:]
        return weighted / weight if weight[0, 0, 0] > 0 else np.full_like(weighted, 128)
    size = ((width + 1) // 2, (height + 1) // 2)
    if width % 2 or height % 2:
        weighted = cv2.copyMakeBorder(weighted, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=0)
    coarse = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    # One whole cell of four says as much as four do.
    coarse *= 1 / np.maximum(coarse[..., 3:], 0.25)
    filled = _push_pull(np.asarray(coarse, np.float32))
    filled = cv2.resize(filled, (size[0] * 2, size[1] * 2), interpolation=cv2.INTER_LINEAR)
    filled *= 1 - weighted[..., 3:]
    filled += weighted
    return np.asarray(filled[:height, :width], np.float32)


def _grain(height: int, width: int) -> Image:
    """Noise of three equal channels about 128, the same for every image of a size: a tile, repeated."""
    return np.tile(_NOISE, (-(-height // _TILE), -(-width // _TILE), 1))[:height, :width]


_TILE, _GRAIN_LEVEL = 128, 24.0


def _noise_tile() -> Image:
    drawn = np.random.Generator(np.random.Philox(key=11)).standard_normal((_TILE, _TILE), dtype=np.float32)
    levels = np.clip(np.rint(128 + _GRAIN_LEVEL * drawn), 0, 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


_NOISE = _noise_tile()


def _some(points: Ints, most: int) -> Ints:
    """At most about so many of the points, evenly."""
    return points[:: -(-len(points) // most)] if len(points) > most else points

"""Bar charts as rectangles for a template to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 640.0, 150.0


@dataclass(frozen=True)
class Bar:
    """One bar; `label` is told when somebody points at it, `kind` is its colour's class, `query` finds its pairs."""

    value: int
    label: str
    kind: str = ""
    query: str = ""


@dataclass(frozen=True)
class Series:
    """Bars of one colour."""

    name: str
    bars: tuple[Bar, ...]


class Rectangle(NamedTuple):
    """A bar in the image."""

    x: float
    y: float
    width: float
    height: float
    label: str
    kind: str
    query: str


@dataclass(frozen=True)
class Chart:
    """One chart: upright bars of a few series, or `rows`, names with numbers."""

    title: str
    note: str = ""
    series: tuple[Series, ...] = ()
    rows: tuple[Bar, ...] = ()
    logarithmic: bool = False
    legend: tuple[tuple[str, str], ...] = ()
    first_label: str = ""
    last_label: str = ""

    @property
    def top(self) -> int:
        """The largest value."""
        values = [bar.value for series in self.series for bar in series.bars] + [bar.value for bar in self.rows]
        return max(values, default=0)

    @property
    def rectangles(self) -> list[Rectangle]:
        """The bars, side by side where there are several series."""
        count = max((len(series.bars) for series in self.series), default=0)
        if not count or not self.top:
            return []
        slot = WIDTH / count
        gap = min(slot * 0.15, 3.0)
        width = (slot - gap) / len(self.series)
        return [
            Rectangle(
                round(place * slot + gap / 2 + number * width, 2),
                round(HEIGHT - height, 2),
                round(max(width, 0.5), 2),
                round(height, 2),
                bar.label,
                bar.kind,
                bar.query,
            )
            for number, series in enumerate(self.series)
            for place, bar in enumerate(series.bars)
            for height in (self.height(bar.value),)
        ]

    @property
    def lines(self) -> list[tuple[float, str]]:
        """Where the scale's lines are, and what they stand for."""
        if not self.top:
            return []
        if self.logarithmic:
            values = [10**power for power in range(int(math.log10(self.top)) + 1)]
        else:
            power = 10 ** math.floor(math.log10(self.top))
            step = next(
                step
                for step in (power // 5, power // 2, power, 2 * power, 5 * power)
                if step and self.top / step <= 4.5
            )
            values = [step * n for n in range(1, self.top // step + 1)]
        return [(round(HEIGHT - self.height(value), 2), f"{value:,}") for value in values]

    def height(self, value: int) -> float:
        """How high a bar of `value` is; on a logarithmic scale one object is already seen."""
        if not value or not self.top:
            return 0.0
        if self.logarithmic:
            return HEIGHT * 0.94 * (math.log10(value) + 0.3) / (math.log10(self.top) + 0.3)
        return HEIGHT * 0.94 * value / self.top

    def share(self, value: int) -> float:
        """A row's share of the largest, in per cent."""
        return round(100 * value / self.top, 2) if self.top else 0.0

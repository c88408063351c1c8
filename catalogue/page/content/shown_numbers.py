"""Numbers of a version as they are drawn: kinds of files as bars, resolutions as points of a plot. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["HEIGHT", "WIDTH", "Axis", "KindNumbers", "Numbers", "PlotPoint", "Resolution", "axis_of", "points_of"]

WIDTH, HEIGHT = 280, 170
"""Of the plot, in its own units."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 8, 22


@dataclass(frozen=True, slots=True)
class KindNumbers:
    """The files of one kind that were looked at."""

    kind: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """How many have this width and height, in pixels."""

    width: int
    height: int
    count: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of `looked` entries. `is_whole`: those are all."""

    kinds: tuple[KindNumbers, ...]
    resolutions: tuple[Resolution, ...]
    looked: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """A resolution in the plot; its area grows with how many there are."""

    x: float
    y: float
    radius: float
    resolution: Resolution


@dataclass(frozen=True, slots=True)
class Axis:
    """From 0 to `top`, with `ticks`: where, and what is written there."""

    top: int
    ticks: tuple[tuple[float, str], ...]


def axis_of(values: Sequence[int], *, is_upright: bool) -> Axis:
    """Return an axis for values, which ends at a round number."""
    most = max(values, default=1)
    step = 10 ** math.floor(math.log10(max(most, 1)))
    step = next(each for each in (step // 5 or 1, step // 2 or 1, step, 2 * step, 5 * step) if most / each <= 4)
    top = step * math.ceil(most / step)
    ticks = tuple((_place(value / top, is_upright=is_upright), f"{value:,}") for value in range(0, top + 1, step))
    return Axis(top, ticks)


def points_of(resolutions: Sequence[Resolution], across: Axis, up: Axis) -> list[PlotPoint]:
    """Return where resolutions stand, those with the most first, so that the small ones are seen."""
    most = max((each.count for each in resolutions), default=1)
    return [
        PlotPoint(
            _place(each.width / across.top, is_upright=False),
            _place(each.height / up.top, is_upright=True),
            round(2.5 + 7.5 * math.sqrt(each.count / most), 1),
            each,
        )
        for each in sorted(resolutions, key=lambda each: -each.count)
    ]


def _place(share: float, *, is_upright: bool) -> float:
    if is_upright:
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

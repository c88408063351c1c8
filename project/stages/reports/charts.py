"""Lines over a table's columns, one a version: what is drawn, and as SVG in a page that needs nothing else. Pure.

A picture (PNG) is drawn by matplotlib, which is an extra: ``penstock[plots]``.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import IntegrityError, UsageError
from penstock.project.stages.findings.documents import Value, table_rows

__all__ = ["Chart", "ChartLine", "as_page", "as_png", "make_charts"]

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44
_MOST_POINTS = 2000
"""Points of a line that are drawn: more than the picture has columns shows nothing more."""
_COLORS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#66418c", "#00798c", "#8d5a3b", "#555555")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:700px;padding:0 1rem}"
    "body{color:#222;background:#fff}"
    "h2{font-size:1.1rem}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#444}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}text{fill:#bbb}}"
)


@dataclass(frozen=True, slots=True)
class ChartLine:
    """Points of one version, in order; both coordinates are finite."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One column of one file, over another column or over the rows' numbers."""

    title: str
    x: str
    y: str
    lines: tuple[ChartLine, ...]


def make_charts(file: str, documents: Sequence[tuple[str, Value]], x: str | None, y: Sequence[str]) -> list[Chart]:
    """Return charts of a file: of the columns `y`, by default all that hold numbers; a line for each version.

    UsageError: a column is not there. IntegrityError: the file holds no table.
    """
    tables = [(name, table_rows(document, file)) for name, document in documents]
    columns = list(dict.fromkeys(key for _, rows in tables for row in rows for key in row))
    for wanted in [*([x] if x is not None else []), *y]:
        if wanted not in columns:
            raise UsageError(f"{file!r} has no column {wanted!r}", why=f"it has {', '.join(columns[:20])}")
    if x is None:
        x = next((each for each in ("step", "epoch", "iteration") if each in columns), None)
    drawn = list(y) or [
        each
        for each in columns
        if each != x and any(_number(row.get(each)) is not None for _, rows in tables for row in rows)
    ]
    charts = []
    for column in drawn:
        lines = [ChartLine(name, _points(rows, x, column)) for name, rows in tables]
        charts.append(Chart(f"{file}: {column}", x or "row", column, tuple(line for line in lines if line.points)))
    if not any(chart.lines for chart in charts):
        raise IntegrityError(f"{file!r} has no numbers to draw")
    return [chart for chart in charts if chart.lines]


def _points(rows: Sequence[Mapping[str, Value]], x: str | None, y: str) -> tuple[tuple[float, float], ...]:
    points = []
    for at, row in enumerate(rows):
        across = _number(row.get(x)) if x is not None else float(at)
        up = _number(row.get(y))
        if across is not None and up is not None:
            points.append((across, up))
    if len(points) > _MOST_POINTS:
        step = len(points) / _MOST_POINTS
        points = [points[int(at * step)] for at in range(_MOST_POINTS - 1)] + points[-1:]
    return tuple(points)


def _number(value: Value) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def as_page(charts: Iterable[Chart], title: str) -> str:
    """Return a page of HTML with the charts in it; it loads nothing."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
    ]
    for chart in charts:
        parts += [f"<h2>{html.escape(chart.title)}</h2>", _svg(chart)]
    return "\n".join([*parts, "</body></html>", ""])


def _svg(chart: Chart) -> str:
    xs = [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in line.points]
    across, up = _Scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT), _Scale(min(ys), max(ys), _HEIGHT - _BOTTOM, _TOP)
    label = html.escape(f"{chart.y} over {chart.x}")
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 20 * len(chart.lines)}" role="img" aria-label="{label}">']
    for tick in up.ticks():
        at = up(tick)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#8884" fill="none"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    below, middle = _HEIGHT - _BOTTOM + 18, (_LEFT + _WIDTH - _RIGHT) / 2
    parts += [
        f'<text x="{across(each):.1f}" y="{below}" text-anchor="middle">{each:.4g}</text>' for each in across.ticks()
    ]
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{html.escape(chart.x)}</text>')
    for at, line in enumerate(chart.lines):
        color = _COLORS[at % len(_COLORS)]
        shown = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
        if len(line.points) == 1:
            x, y = line.points[0]
            parts.append(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="{color}"/>')
        parts.append(f'<polyline points="{shown}" fill="none" stroke="{color}" stroke-width="2"/>')
        below = _HEIGHT + 20 * at + 12
        parts.append(f'<path d="M{_LEFT} {below - 4}h18" stroke="{color}" stroke-width="3"/>')
        parts.append(f'<text x="{_LEFT + 26}" y="{below}">{html.escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"])


class _Scale:
    """Values onto a range of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if low == high:
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        self._low, self._high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        # Halved, because the difference of two numbers may be none any more.
        part = (value / 2 - self._low / 2) / (self._high / 2 - self._low / 2)
        return self._start + part * (self._end - self._start)

    def ticks(self) -> list[float]:
        span = self._high / 2 - self._low / 2
        if not math.isfinite(span) or span <= 0:
            return [self._low]
        power = 10.0 ** math.floor(math.log10(span / 2))
        step = next((power * each for each in (1, 2, 5, 10) if span * 2 / (power * each) <= 6), power * 10)
        first = math.ceil(self._low / step)
        return [(first + at) * step for at in range(12) if (first + at) * step <= self._high]


def as_png(charts: Sequence[Chart], path: str) -> None:
    """Draw the charts into a picture. MissingExtraError: matplotlib is not here."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # pyright: ignore[reportMissingImports]  # an extra
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            "a PNG is drawn by matplotlib, which is not here",
            why=str(error),
            fix="pip install 'penstock[plots]', or write a page: -o plots.html",
        ) from error
    figure = Figure(figsize=(7, 4 * len(charts)), layout="constrained")
    FigureCanvasAgg(figure)
    for at, chart in enumerate(charts, 1):
        axes = figure.add_subplot(len(charts), 1, at)
        for number, line in enumerate(chart.lines):
            xs, ys = zip(*line.points, strict=True)
            mark = "o" if len(xs) == 1 else ""
            axes.plot(xs, ys, label=line.name, color=_COLORS[number % len(_COLORS)], marker=mark)
        axes.set_title(chart.title, parse_math=False)
        axes.set_xlabel(chart.x, parse_math=False)
        axes.legend()
    figure.savefig(path, format="png")

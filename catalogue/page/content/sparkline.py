"""A line of how something grew, small enough to stand in a table. Pure: points of an SVG path."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["HEIGHT", "WIDTH", "spark_path"]

WIDTH, HEIGHT = 96, 24
_MARGIN = 2


def spark_path(values: Sequence[float]) -> str:
    """Return the path of a line through values, the oldest first; of one value, a level line."""
    if not values:
        return ""
    points = list(values) if len(values) > 1 else [values[0]] * 2
    low, high = min(points), max(points)
    across, up = WIDTH - 2 * _MARGIN, HEIGHT - 2 * _MARGIN
    places = []
    for number, value in enumerate(points):
        x = _MARGIN + across * number / (len(points) - 1)
        y = HEIGHT - _MARGIN - up * ((value - low) / (high - low) if high > low else 0.5)
        places.append(f"{x:.1f} {y:.1f}")
    return "M" + "L".join(places)

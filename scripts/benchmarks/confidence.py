"""What it takes to trust data: rows that can be chosen by `--rows`, each a module."""

from __future__ import annotations

import re
from collections.abc import Callable

from confidence_rows import bench_duplicates, bench_leaks, bench_table_rows
from figures import Figures
from mirroring import bench_mirror
from world import World

__all__ = ["bench_confidence"]

_ROWS: dict[str, Callable[[World, Figures], None]] = {
    "mirror": bench_mirror,
    "duplicates": bench_duplicates,
    "leaks": bench_leaks,
    "rows": bench_table_rows,
}


def bench_confidence(world: World, figures: Figures) -> None:
    """Run the rows that are wanted."""
    for name, row in _ROWS.items():
        if re.search(world.rows, name):
            row(world, figures)

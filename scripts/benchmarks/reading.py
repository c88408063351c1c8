"""Reading through mounts: the rows, and the memory of our processes in the worst of them."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

from figures import Figures
from large_file import beside_a_fetch, cold_sequential, warm_sequential
from small_files import cold_one_reader, cold_sample, cold_sixteen_readers, half_cache, page_cache, training, warm
from stage import Stage
from world import World

__all__ = ["bench_read"]

_ROWS: dict[str, Callable[[Stage], None]] = {
    "cold-1": cold_one_reader,
    "cold-16": cold_sixteen_readers,
    "sample": cold_sample,
    "stream-cold": cold_sequential,
    "warm": warm,
    "pages": page_cache,
    "stream-warm": warm_sequential,
    "training": training,
    "half-cache": half_cache,
    "p99": beside_a_fetch,
}


def bench_read(world: World, figures: Figures) -> None:
    """Measure the rows whose names the world's pattern matches."""
    wanted = re.compile(world.rows)
    rows = {name: row for name, row in _ROWS.items() if wanted.search(name)}
    if not rows:
        sys.exit(f"no row matches {world.rows}; there are {', '.join(_ROWS)}")
    stage = Stage(world, figures)
    for name, row in rows.items():
        stage.watch.row = name
        begin = time.perf_counter()
        row(stage)
        print(f"  {name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr)
    watch = stage.watch
    figures.add(f"most memory of all our processes (in {watch.total_in})", watch.most_total.total, "MB", at_most=400)
    figures.add(f"  without the cache's mapped files (in {watch.own_in})", watch.most_own.own, "MB")

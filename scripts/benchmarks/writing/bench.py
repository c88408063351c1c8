"""The rows of `scripts/bench write`, by name."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

from figures import Figures
from world import World

from .changing import Changing
from .rows_entries import one_of_many
from .rows_large import one_byte, stream
from .rows_many import created, git_status, new_files

__all__ = ["bench_write"]

_ROWS: dict[str, Callable[[Changing], None]] = {
    "one-byte": one_byte,
    "ten-million": one_of_many,
    "new-files": new_files,
    "stream": stream,
    "create": created,
    "git": git_status,
}


def bench_write(world: World, figures: Figures) -> None:
    """Measure the rows whose names the world's pattern matches."""
    wanted = re.compile(world.rows)
    rows = {name: row for name, row in _ROWS.items() if wanted.search(name)}
    if not rows:
        sys.exit(f"no row matches {world.rows}; there are {', '.join(_ROWS)}")
    changing = Changing(world, figures)
    for name, row in rows.items():
        world.forget_cache()
        begin = time.perf_counter()
        row(changing)
        print(f"  {name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr)

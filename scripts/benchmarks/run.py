"""What `scripts/bench` runs: the benchmarks that were asked for, and a table of their figures."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from confidence import bench_confidence
from cost import bench_cost
from declared import bench_code
from figures import Figure, Figures
from file_batches import bench_files
from finding import bench_find
from packages import bench_packages
from pushing import bench_push
from reading import bench_read
from registry import bench_registry
from serving import bench_catalogue
from transforming import bench_transform
from trees import bench_tree
from world import World
from writing.bench import bench_write

BENCHMARKS: dict[str, tuple[Callable[[World, Figures], None], str]] = {
    "push": (bench_push, "push of openclipart, first and again, beside rclone copy"),
    "find": (bench_find, "mount and find over openclipart, beside rclone mount"),
    "read": (bench_read, "reading through mounts, cold and warm, beside rclone, s3fs, raw GETs, and the local disk"),
    "cost": (bench_cost, "processor time of reads and of a push, nothing between, beside rclone, s3fs, aws, raw GETs"),
    "tree": (bench_tree, "a tree of ten million entries: build, mount, look up, find"),
    "packages": (
        bench_packages,
        "browsing a package of ten million entries; download of openclipart, beside rclone; builders, beside quilt3",
    ),
    "registry": (
        bench_registry,
        "openclipart tracked in git: add, push, status, switch, clone, import, stages; beside DVC",
    ),
    "transform": (
        bench_transform,
        "a transform of openclipart on two workers of Dask: time, what is done again, requests",
    ),
    "files": (bench_files, "small files fused into a dataset, rows of a data frame beside boto3, batches run again"),
    "code": (bench_code, "datasets as code: commits, checkouts and pushes with openclipart, beside a plain loop"),
    "catalogue": (
        bench_catalogue,
        "a server: pages of ten million entries, pictures, 50 clients, ranges beside the mount, requests at random",
    ),
    "confidence": (
        bench_confidence,
        "mirrors beside rclone sync, duplicates of a million entries, pictures that look alike, rows of tables",
    ),
    "write": (bench_write, "changing a mount and committing it, beside rclone, git on the local disk, the plain disk"),
}


def main() -> int:
    """Run them; 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--entries", type=int, default=10_000_000, help="size of the tree and packages benchmarks")
    parser.add_argument(
        "--rows",
        default="",
        metavar="REGEX",
        help="only these rows of the benchmarks that have rows",
    )
    parser.add_argument("--full", action="store_true", help="some benchmarks in the sizes of their bars")
    parser.add_argument("--scratch", type=Path, help="where data goes; a temporary folder by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what is mounted has to be unmounted
    figures = Figures()
    scratch = tempfile.TemporaryDirectory(dir=arguments.scratch)
    try:
        with scratch as folder, World(Path(folder), arguments.entries, arguments.rows, full=arguments.full) as world:
            for name, (bench, what) in BENCHMARKS.items():
                if not arguments.names or name in arguments.names:
                    print(f"{name}: {what}", file=sys.stderr)
                    bench(world, figures)
    finally:
        print(figures.table())  # also of what was measured before something failed
    if arguments.json:
        facts = {"python": platform.python_version(), "system": platform.platform()}
        found = {**facts, "figures": [Figure.as_dict(each) for each in figures.all]}
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0 if figures.all_met else 1


if __name__ == "__main__":
    sys.exit(main())

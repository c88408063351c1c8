"""Rows of the benchmark of confidence: what is there twice, what looks alike, which rows of tables differ."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from figures import Figures
from world import World

__all__ = ["bench_duplicates", "bench_leaks", "bench_table_rows"]

_MILLION = 1_000_000
_ROWS, _FULL_ROWS = 2_000_000, 10_000_000
_CHANGED = 100
_ONE_IN = 1000
"""Of so many files one is there twice, in the tree that is looked at."""


def bench_duplicates(world: World, figures: Figures) -> None:
    """Look for what is there twice in a million entries on this disk, of which nothing is in memory."""
    bucket = world.disk_bucket
    world.run(sys.executable, __file__, "tree", bucket, str(_MILLION))
    world.forget_cache()
    took, worked, peak, answer = measured(world, "penstock", "duplicates", f"{bucket}/twice", "--json")
    assert len(answer.splitlines()) == _MILLION // _ONE_IN, len(answer.splitlines())
    figures.add(f"duplicates of {_MILLION:,} entries, nothing cached", took, "s", at_most=10)
    figures.add("  of that, CPU", worked, "s")
    figures.add("  memory", peak, "MB", at_most=300)


def bench_leaks(world: World, figures: Figures) -> None:
    """Look for pictures of openclipart that look alike: the first time all are decoded, then none."""
    bucket = world.disk_bucket
    world.run("penstock", "push", world.clipart, f"{bucket}/clipart")
    world.forget_cache()
    for name, bar in (("first run", None), ("second run", 2.0)):
        took, worked, peak, answer = measured(
            world, "penstock", "duplicates", f"{bucket}/clipart", "--near", "--threshold", "4", "--json"
        )
        figures.add(f"pictures that look alike in openclipart (8,121), {name}", took, "s", at_most=bar)
        figures.add("  of that, CPU", worked, "s")
        figures.add("  memory of the command", peak, "MB")
        figures.add("  pairs", sum('"near"' in line for line in answer.splitlines()), "")


def bench_table_rows(world: World, figures: Figures) -> None:
    """Compare two Parquet files in which a hundred rows differ, and stand in another order in places."""
    rows = _FULL_ROWS if world.full else _ROWS
    bucket = world.disk_bucket
    folder = world.scratch / "table"
    folder.mkdir()
    for version in ("v1", "v2"):
        world.run(sys.executable, __file__, "table", folder / "t.parquet", str(rows), version)
        world.run("penstock", "push", folder, f"{bucket}/table", "--tag", version)
    size = (folder / "t.parquet").stat().st_size / 1e6
    took, worked, peak, answer = measured(
        world, "penstock", "diff", f"{bucket}/table:v1", "v2", "--rows", "--key", "id", "--json", expect=1
    )
    found = json.loads(answer.splitlines()[-1])
    assert (found["changed"], found["added"], found["removed"]) == (_CHANGED - 20, 10, 10), found
    figures.add(f"diff --rows of two Parquet files of {rows:,} rows ({size:,.0f} MB each)", took, "s", at_most=10)
    figures.add("  of that, CPU", worked, "s")
    figures.add("  memory", peak, "MB", at_most=1000)


def measured(world: World, *command: str, expect: int = 0) -> tuple[float, float, float, str]:
    """Run a program: seconds, seconds of CPU, most memory of it in MB, and what it printed."""
    program = (
        "import os, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "sys.stdout.buffer.write(b'%d %f %d\\n' % (done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss))\n"
        "sys.stdout.buffer.write(done.stdout)\n"
    )
    begin = time.perf_counter()
    _, answer = world.run(sys.executable, "-c", program, *command)
    took = time.perf_counter() - begin
    first, _, rest = answer.partition("\n")
    code, worked, peak = first.split()
    if int(code) != expect:
        sys.exit(f"{' '.join(command)}: exit {code}")
    return took, float(worked), int(peak) / 1024, rest


def _tree(bucket: str, entries: int) -> None:
    """Publish a tree of so many files in 1,000 folders, some of which are there twice. Their data is not there."""
    import random
    from contextlib import closing

    from penstock.manifest.build import TreeBuilder
    from penstock.manifest.entry import Extent, Kind, TreeEntry
    from penstock.manifest.records import Manifest
    from penstock.progress import SILENT
    from penstock.repo.bucket.leases import Lease, LeaseKind
    from penstock.repo.refs.refs import WriteAccess
    from penstock.repo.refs.repository import Repository
    from penstock.repo.settings.settings import Settings
    from penstock.repo.write.node_pack import NodePackWriter
    from penstock.repo.write.publish import Authorship, publish
    from penstock.repo.write.upload import Upload

    chance = random.Random(0)
    folders = 1000
    with (
        closing(Settings.load().open_bucket(bucket)) as store,
        closing(Upload(store, SILENT.stage("uploading"))) as upload,
    ):
        sink = NodePackWriter(lambda key, body: upload.send(key, body, data=False))
        builder = TreeBuilder(sink)
        number, twice = 0, b""
        for folder in range(folders):
            builder.enter(b"part-%04d" % folder)
            for at in range(entries // folders):
                number += 1
                digest = chance.randbytes(32)
                if number % _ONE_IN == 1:
                    twice = digest
                elif number % _ONE_IN == 500:
                    digest = twice
                extents = (Extent(bytes(32), number, 1000),)
                builder.add(TreeEntry(b"image-%08d.jpg" % at, Kind.FILE, 1000, digest, number, extents=extents))
            builder.leave()
        root = builder.finish()
        sink.flush()
        upload.finish()
        with Lease(store, "twice", LeaseKind.PUSH) as lease:
            manifest = Manifest(sink.located(root))
            publish(
                Repository(store, "twice"), WriteAccess(lease), "main", None, manifest, Authorship("bench", "", "bench")
            )


def _table(path: str, rows: int, version: str) -> None:
    """Write a table: in its second version rows are changed, gone and new, and its first tenth stands at the end."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    chance = np.random.default_rng(1)
    ids = np.arange(rows)
    labels = np.array(["cat", "dog", "owl", "a longer label"])[chance.integers(0, 4, rows)]
    scores = chance.random(rows)
    if version == "v2":
        touched = np.random.default_rng(2).choice(rows, _CHANGED - 10, replace=False)
        scores[touched[: _CHANGED - 20]] += 1
        keep = np.ones(rows, bool)
        keep[touched[_CHANGED - 20 :]] = False
        ids = np.concatenate((ids[keep], np.arange(rows, rows + 10)))
        labels = np.concatenate((labels[keep], np.repeat("new", 10)))
        scores = np.concatenate((scores[keep], np.zeros(10)))
        ids, labels, scores = (np.roll(column, -rows // 10) for column in (ids, labels, scores))
    names = np.char.add("image-", ids.astype(str))
    table: Any = pa.table({"id": ids, "file": names, "label": labels, "score": scores})
    parquet.write_table(table, path)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    if sys.argv[1] == "tree":
        _tree(sys.argv[2], int(sys.argv[3]))
    else:
        _table(sys.argv[2], int(sys.argv[3]), sys.argv[4])

"""Rows with ten million entries: one small file committed among them, and two versions compared."""

from __future__ import annotations

import random

from stage import RUNS, median

from .changing import Changing

__all__ = ["one_of_many"]

_CHANGES = 100
_FOLDERS = 1000


def one_of_many(changing: Changing) -> None:
    """Commits of one new file each, then of 100 changed ones; then what differs between those two versions."""
    world, handle = changing.world, changing.tree
    per_folder = world.entries // _FOLDERS
    chance = random.Random(2)
    commits = []
    with changing.mounted(handle) as (where, _):
        for run in range(RUNS):
            folder = where / f"part-{chance.randrange(_FOLDERS):04}"
            (folder / f"new-{run}.txt").write_bytes(chance.randbytes(1000))
            commits.append(changing.commit(where))
        for number in chance.sample(range(_FOLDERS), _CHANGES):
            name = f"part-{number:04}/image-{chance.randrange(per_folder):08}.jpg"
            (where / name).write_bytes(chance.randbytes(1000))
        changed = changing.commit(where)
    differences = []
    for _ in range(RUNS):
        world.forget_cache()
        # Exit code 1 says that something differs.
        command = f"penstock diff {handle}:{commits[-1].commit} {changed.commit} || test $? = 1"
        took, listed = world.run("sh", "-c", command)
        assert len(listed.splitlines()) == _CHANGES, listed
        differences.append(took)
    again, _ = world.run("sh", "-c", command)
    add = changing.figures.add
    what = f"one small file committed among {world.entries:,}"
    add(what, median([each.seconds for each in commits]), "s", at_most=2)
    worst = max(commits, key=lambda each: each.puts.total())
    add(f"  PUTs ({worst.described})", worst.puts.total(), "", at_most=6)
    add("  read from the store, most", max(each.bytes_read for each in commits) / 1e6, "MB", at_most=1)
    add(f"commit of {_CHANGES} changed files in as many directories of it", changed.seconds, "s")
    add(f"diff of two such versions, {_CHANGES} changes, nothing cached", median(differences), "s", at_most=2)
    add("  again, nodes cached", again, "s")

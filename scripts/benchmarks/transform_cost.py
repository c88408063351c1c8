"""What a transform of 100 TB costs in requests, by how many workers do it: the table of docs/DISTRIBUTED.md.

Computed from counts that were measured on a store that counts, with files of 1 MiB whose outputs are as large (8 tasks
of 32 to 64 MiB, each in a process of its own, then the merge). They do not depend on what was measured on.

    python scripts/benchmarks/transform_cost.py
"""

from __future__ import annotations

import math

MIB = 1 << 20

# Measured: what a task asks of the store, beside its data, and what the merge asks for it.
READ = 4 * MIB  # bytes of data that one GET brings
PACK = 32 * MIB  # bytes of outputs that one PUT sends, and one HEAD asks for before that
TASK_GETS, TASK_PUTS = 1, 1  # is its part there? its part
MERGE_GETS, MERGE_HEADS_OF_PACK = 2, 1  # the record, and the entries in it; is the data there?
NODE_BYTES_OF_FILE = 55  # of the source's tree
NODES = 512 << 10  # bytes of nodes that one GET brings
WORKER_GETS = 4  # nodes on the way to its first file, in a tree of this size: one of each level
ONCE = {"GET": 3, "HEAD": 1, "PUT": 6, "LIST": 5}  # branch and source, lease, nodes, manifest, commit, ref

MOST_TASKS = 10_000
DOLLARS = {"GET": 0.4e-6, "HEAD": 0.4e-6, "PUT": 5e-6, "LIST": 5e-6}
"""A request, in S3's standard class; bytes cost nothing within a region."""


def requests(workers: int, size: int, outputs: int) -> dict[str, int]:
    """Return the requests of a transform of so many bytes, in files of 1 MiB."""
    files = size // MIB
    tasks = min(MOST_TASKS, max(size // (256 * MIB), files // 128) + 1)
    packs = tasks * math.ceil(outputs / tasks / PACK)
    reads = tasks * math.ceil(size / tasks / READ)
    nodes = math.ceil(files * NODE_BYTES_OF_FILE / NODES) + workers * WORKER_GETS
    chunks = tasks * math.ceil(files / tasks * 110 / (8 * MIB))  # the entries of a large task lie beside its part
    return {
        "GET": ONCE["GET"] + reads + nodes + tasks * (TASK_GETS + MERGE_GETS) + chunks,
        "HEAD": ONCE["HEAD"] + packs * (1 + MERGE_HEADS_OF_PACK),
        "PUT": ONCE["PUT"] + packs + tasks * TASK_PUTS + chunks + math.ceil(files * 110 / (8 * MIB)),
        "LIST": ONCE["LIST"],
    }


def main() -> None:
    """Print the table."""
    size, outputs = 100 * 10**12, 10 * 10**12
    print("| workers | GET | HEAD | PUT | bytes read | bytes written | requests cost |")
    print("|---|---|---|---|---|---|---|")
    for workers in (1, 10, 100, 1000):
        found = requests(workers, size, outputs)
        cost = sum(DOLLARS[name] * count for name, count in found.items())
        counts = " | ".join(f"{found[name]:,}" for name in ("GET", "HEAD", "PUT"))
        print(f"| {workers:,} | {counts} | 100 TB | 10 TB | ${cost:.2f} |")


if __name__ == "__main__":
    main()

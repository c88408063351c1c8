"""Publish a version with one file of 10 GB that takes 32 MiB in the bucket: a program of its own.

    python large_version.py BUCKET SIZE

The file, `data/large.bin`, is one object of random bytes over and over. Its entry is what a push of such a file would
have made, only that a push would have had to read 10 GB. SIZE is in bytes, a multiple of 32 MiB.
"""

from __future__ import annotations

import random
import sys
from contextlib import closing

from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import BLOCK_SIZE, Extent, Kind, TreeEntry
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.records import Manifest
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.refs.refs import WriteAccess
from penstock.repo.refs.repository import Repository
from penstock.repo.settings.settings import Settings
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship, publish

MAX_PACK = 32 << 20


def _main(bucket: str, size: int) -> None:
    chance = random.Random(0)
    body = b"".join(chance.randbytes(BLOCK_SIZE) for _ in range(MAX_PACK // BLOCK_SIZE))
    digest = content_hash(body)
    times, rest = divmod(size, MAX_PACK)
    assert not rest, size
    blocks = times * b"".join(content_hash(body[at : at + BLOCK_SIZE]) for at in range(0, MAX_PACK, BLOCK_SIZE))
    file = TreeEntry(
        b"large.bin",
        Kind.FILE,
        size,
        hash_of_blocks(size, blocks),
        1_700_000_000_000_000_000,
        extents=times * (Extent(digest, 0, MAX_PACK),),
    )
    with closing(Settings.load().open_bucket(bucket)) as store:
        store.put(object_keys.data_key(digest), body)
        sink = NodePackWriter(store.put)
        builder = TreeBuilder(sink)
        builder.add_file(file, blocks)
        root = builder.finish()
        sink.flush()
        manifest = Manifest(sink.located(root))
        with Lease(store, "data", LeaseKind.PUSH) as lease:
            who = Authorship("bench", "", "bench")
            publish(Repository(store, "data"), WriteAccess(lease), "main", None, manifest, who)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))

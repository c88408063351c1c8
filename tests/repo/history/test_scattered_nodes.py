"""A comparison of two large versions that differ here and there fetches little more than what differs."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from views.bucket import LocalBucket
from views.writing import publish

from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import Extent, Kind, TreeEntry
from penstock.manifest.records import Manifest
from penstock.manifest.update import Edit, update
from penstock.repo.history.comparison import Contents, compare
from penstock.repo.refs.repository import Repository
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship

FOLDERS, FILES, CHANGED = 30, 4000, range(0, 30, 3)
OBJECT = bytes(32)


def entry(chance: random.Random, number: int) -> TreeEntry:
    name = b"file-%05d" % number
    return TreeEntry(name, Kind.FILE, 1000, chance.randbytes(32), extents=(Extent(OBJECT, 1000 * number, 1000),))


def test_what_lies_far_apart_comes_without_what_lies_between(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path)
    chance = random.Random(0)
    store = bucket.settings.open_bucket("demo")
    repository, authorship = Repository(store, "data"), Authorship("me", "", "push")
    sink = NodePackWriter(store.put)
    builder = TreeBuilder(sink)
    for folder in range(FOLDERS):
        builder.enter(b"d%02d" % folder)
        for number in range(FILES):
            builder.add(entry(chance, number))
        builder.leave()
    root = builder.finish()
    sink.flush()
    size = sink.bytes
    before = sink.located(root)
    publish(repository, Manifest(before), authorship)
    with open_session("demo", bucket.settings) as session:
        sink = NodePackWriter(store.put)
        edits = [Edit((b"d%02d" % folder, b"file-%05d" % 2000), entry(chance, 2000)) for folder in CHANGED]
        root = update(before, edits, session.load, sink)
        sink.flush()
        after = sink.located(root)
        publish(repository, Manifest(after), authorship)
    store.close()

    elsewhere = replace(bucket.settings, cache_directory=tmp_path / "elsewhere")
    with open_session("demo", elsewhere) as session:
        old, new = (Contents(each, session.load, session.load_many) for each in (before, after))
        assert len(list(compare(old, new))) == len(CHANGED)
        counts = session.counts.snapshot()
    assert counts["bytes_fetched"] < size / 2, (counts, size)
    assert counts["node_gets"] <= 2 * len(CHANGED) + 4

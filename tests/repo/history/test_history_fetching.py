"""Nodes of which it is known that they are needed are fetched together, neighbours by one request."""

from __future__ import annotations

from typing import Any

from penstock.manifest.entry import Location, NodeRef
from penstock.repo.history.comparison import Contents, compare
from penstock.repo.session.bucket_session import open_session
from penstock.repo.session.node_batches import neighbours

World = Any  # see conftest


def ref(pack: int, offset: int, length: int = 1000) -> NodeRef:
    return NodeRef(b"", 0, 0, Location(bytes([pack]), offset, length, b""))


def test_neighbours_are_grouped() -> None:
    far = 1 << 20
    refs = [ref(1, far), ref(1, 0), ref(2, 500), ref(1, 1000), ref(1, far + (256 << 10)), ref(1, (256 << 10) - 1000)]
    assert neighbours(refs) == [[1, 3, 5], [0], [4], [2]]
    assert neighbours([]) == []


def test_many_nodes_come_by_few_requests(world: World) -> None:
    base = {b"d%03d/f%d" % (number, file): b"%d" % number for number in range(300) for file in range(3)}
    changed = dict(base) | {b"d%03d/f1" % number: b"changed" for number in range(0, 300, 3)}
    old, new = (world.push(world.plant(state, name), name) for name, state in (("old", base), ("new", changed)))
    with open_session(world.bucket, world.machine("elsewhere")) as session:
        repository = session.repository("things")
        before, after = (
            Contents(repository.manifest(each.top_hash).root, session.load, session.load_many) for each in (old, new)
        )
        assert len(list(compare(before, after))) == 100
        assert session.counts.snapshot()["node_gets"] <= 6

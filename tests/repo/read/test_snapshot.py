"""Reading a version: what is damaged is named, what only the way spoilt is fetched again, and no more than needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from views.writing import publish

from penstock.errors import FormatTooNewError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import BLOCK_SIZE, Extent, External, Kind, NodeRef, TreeEntry
from penstock.manifest.hashing import ContentHasher, content_hash
from penstock.manifest.records import Manifest
from penstock.manifest.tree import NodeMissing
from penstock.repo.bucket import object_keys
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.settings.trust import Trust
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship
from penstock.store.base import ByteRange
from penstock.store.local import LocalStore

World = Any  # see conftest

Change = Callable[[bytes], bytes | None]


def flip(at: int) -> Change:
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


DAMAGE: dict[str, Change] = {
    "missing": lambda body: None,
    "empty": lambda body: b"",
    "truncated": lambda body: body[:-1],
    "flipped": flip(-2),
    "zeros": lambda body: bytes(len(body)),
}


def change_object(world: World, prefix: str, change: Change) -> str:
    store = world.store()
    (found,) = store.list(prefix)
    body = change(store.get(found.key))
    store.delete([found.key])
    if body is not None:
        store.put(found.key, body)
    return found.key


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_data_object(world: World, damage: str) -> None:
    body = random.Random(1).randbytes(3 * BLOCK_SIZE + 5)
    world.push(world.plant({b"file": body}))
    key = change_object(world, ".penstock/data/", DAMAGE[damage])
    snapshot = world.open()
    entry = snapshot.find("file")
    with pytest.raises(IntegrityError) as caught:
        list(snapshot.read(entry))
    assert key in f"{caught.value}"
    assert world.bucket in f"{caught.value}"
    assert "'file'" in caught.value.what
    assert caught.value.fix
    if damage in ("truncated", "flipped"):  # the other blocks can be read as ever
        assert snapshot.fetch_blocks(entry, 0, 3) == [
            body[at : at + BLOCK_SIZE] for at in (0, BLOCK_SIZE, 2 * BLOCK_SIZE)
        ]
    # What is in the cache was checked when it came, and is still right.
    assert snapshot.cached_block(snapshot.block_hash(entry, 3)) is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_node_pack(world: World, damage: str) -> None:
    world.push(world.plant({b"d/file": b"1"}))
    key = change_object(world, ".penstock/nodes/", DAMAGE[damage])
    snapshot = world.open(cached=False)
    with pytest.raises(IntegrityError) as caught:
        snapshot.find("d/file")
    assert key in caught.value.what
    assert world.bucket in caught.value.what


def test_nodes_that_hash_right_and_are_wrong(world: World) -> None:
    """Whoever can write to the bucket can make hashes fit; the decoder still refuses, and says where."""
    world.push(world.plant({b"file": b"1"}))
    store = world.store()
    (pack,) = world.keys(".penstock/nodes/")
    frame = store.get(pack)
    for spoilt, error in ((b"PSN9" + frame[4:], FormatTooNewError), (b"GARB" + frame[4:], IntegrityError)):
        snapshot = world.open(cached=False)
        store.put(pack, spoilt)
        old = snapshot.root.location
        snapshot.root = type(snapshot.root)(
            snapshot.root.hash,
            snapshot.root.entries,
            snapshot.root.size,
            type(old)(old.pack, 0, len(spoilt), content_hash(spoilt)),
        )
        with pytest.raises(error) as caught:
            snapshot.find("file")
        assert pack in caught.value.what


class FlippingStore(LocalStore):
    """A local store whose answers are spoilt on the way, so many times."""

    def __init__(self, path: str, part: str) -> None:
        super().__init__(path)
        self.part = part
        self.left = 0

    def get(self, key: str, byte_range: ByteRange | None = None, **more: Any) -> bytes:
        body = super().get(key, byte_range, **more)
        if self.part in key and self.left and body:
            self.left -= 1
            # In a hash of a record; late in what is fetched by range, where what was asked for lies.
            at = 40 if byte_range is None else len(body) - 9
            return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
        return body


@pytest.mark.parametrize("part", ["/data/", "/nodes/", "/manifests/", "/commits/", "/heads/"])
def test_a_flip_on_the_way_is_healed(world: World, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {b"file": random.Random(2).randbytes(2 * BLOCK_SIZE + 50)}
    world.push(world.plant(content))
    store = FlippingStore(str(world.folder / "store"), part)
    monkeypatch.setattr("penstock.repo.session.bucket_session.open_store", lambda url, options: store)
    for times, healed in ((1, True), (2, False)):
        store.left = times
        try:
            snapshot = world.open(cached=False)
            snapshot.commit()
            assert world.read_back(snapshot) == content
            assert healed
            assert store.left == 0
            if part in ("/data/", "/nodes/"):
                assert snapshot.counters()["corrupt_answers"] == 1
        except IntegrityError as error:
            assert not healed
            assert part in f"{error}"


def test_only_what_is_asked_for_is_fetched(world: World) -> None:
    body = random.Random(3).randbytes(20 * BLOCK_SIZE)
    world.push(world.plant({b"large": body, **{b"d/%d" % number: b"%d" % number for number in range(100)}}))
    snapshot = world.open(settings=world.machine("other"))
    assert snapshot.counters()["gets"] == 0
    entry = snapshot.find("large")
    snapshot.find("d/50")
    assert (snapshot.counters()["gets"], snapshot.counters()["node_gets"]) == (1, 1)  # one pack holds all nodes
    assert snapshot.fetch_blocks(entry, 7, 2) == [body[at << 20 : (at + 1) << 20] for at in (7, 8)]
    assert snapshot.counters()["gets"] == 2
    fetched = snapshot.counters()["bytes_fetched"]
    assert 2 * BLOCK_SIZE < fetched < 2 * BLOCK_SIZE + 20_000
    assert snapshot.is_cached(entry) == (2, 20)
    assert b"".join(snapshot.read(entry)) == body
    assert snapshot.counters()["gets"] == 2 + 3  # 7 blocks before, then 8 and 3: as far as eight go in one request
    assert (snapshot.counters()["hits"], snapshot.counters()["misses"]) == (2, 18)
    # All of it is in the cache now, nodes too.
    again = world.open(settings=world.machine("other"))
    assert b"".join(again.read(again.find("large"))) == body
    assert again.counters()["gets"] == 0


def test_a_cache_serves_other_versions_and_datasets(world: World) -> None:
    body = random.Random(4).randbytes(3 * BLOCK_SIZE)
    world.push(world.plant({b"a": body}))
    snapshot = world.open()
    assert b"".join(snapshot.read(snapshot.find("a"))) == body
    world.push(world.plant({b"b": body, b"c": b"1"}), dataset="others")
    other = world.open(dataset="others")
    assert b"".join(other.read(other.find("b"))) == body
    assert (other.counters()["hits"], other.counters()["misses"]) == (3, 0)


def test_a_directory_of_a_version(world: World) -> None:
    world.push(world.plant({b"d/e/file": b"1", b"d/x": b"2", b"f": b"3"}))
    snapshot = open_snapshot(f"{world.handle('main')}/d/e", world.settings)
    try:
        assert snapshot.find("file").size == 1
        assert snapshot.find("").entries == 1
        assert snapshot.top_hash == world.open().top_hash
        assert [names for names, _ in snapshot.tree.walk()] == [(b"file",)]
    finally:
        snapshot.close()
    for path, error in (("f", UsageError), ("d/none", NotFoundError), ("d/x/y", NotFoundError)):
        with pytest.raises(error):
            open_snapshot(f"{world.handle('main')}/{path}", world.settings)


def test_names_that_are_near(world: World) -> None:
    world.push(world.plant({b"photos/cat.png": b"1", b"photos/dog.png": b"2", b"\xff\n": b"3"}))
    snapshot = world.open()
    for path, fix in (("photos/cta.png", "'cat.png'"), ("photo/cat.png", "'photos'"), ("photos/zzz", "'dog.png'")):
        with pytest.raises(NotFoundError) as caught:
            snapshot.find(path)
        assert fix in caught.value.fix
    assert snapshot.find(b"\xff\n".decode("utf-8", "surrogateescape")).size == 1


def external_version(world: World, bodies: dict[bytes, tuple[External, int, bytes]]) -> None:
    """Publish a version of files whose bytes lie elsewhere: name -> (object, offset in it, content)."""
    repository = world.repository()
    sink = NodePackWriter(repository.store.put)
    builder = TreeBuilder(sink)
    for name, (found, offset, body) in sorted(bodies.items()):
        hasher = ContentHasher()
        hasher.update(body)
        digest, blocks = hasher.finish()
        builder.add_file(
            TreeEntry(name, Kind.FILE, len(body), digest, extents=(Extent(found, offset, len(body)),)), blocks
        )
    root = builder.finish()
    sink.flush()
    publish(repository, Manifest(sink.located(root)), Authorship("t", "", "test"))


def test_entries_that_lie_elsewhere_as_files(world: World) -> None:
    world.settings = replace(world.settings, trust=Trust((str(world.folder),)))
    body = random.Random(5).randbytes(2 * BLOCK_SIZE + 9)
    place = Path(world.plant({"els where/ö".encode(): b"head" + body}, "elsewhere")) / "els where" / "ö"
    uri = place.as_uri()
    external_version(
        world,
        {
            b"whole": (External(uri), 4, body),
            b"gone": (External(uri + "x"), 0, b"1"),
            b"part": (External(uri), 0, b"head"),
        },
    )
    snapshot = world.open()
    assert b"".join(snapshot.read(snapshot.find("whole"))) == body
    assert b"".join(snapshot.read(snapshot.find("part"))) == b"head"
    assert snapshot.physical(snapshot.find("part")) == [(uri, 0, 4)]
    with pytest.raises(IntegrityError, match="'gone' cannot be read"):
        list(snapshot.read(snapshot.find("gone")))
    place.write_bytes(b"head" + bytes(len(body)))
    fresh = world.open(cached=False)
    with pytest.raises(IntegrityError) as caught:
        list(fresh.read(fresh.find("whole")))
    assert uri in caught.value.why
    # A push leaves them where they lie as long as they are the same.
    place.write_bytes(b"head" + body)
    report = world.push(world.plant({b"part": b"head", b"whole": body}))
    assert report.bytes_uploaded == 0
    assert world.open().find("whole").extents[0].object == External(uri)


@pytest.mark.s3
def test_entries_that_lie_elsewhere_as_versions_of_objects(s3_world: World, gateway: Any) -> None:
    store = s3_world.store()
    bucket = s3_world.bucket.removeprefix("s3://")
    answer = gateway.request(
        "PUT",
        f"/{bucket}?versioning",
        body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    )
    assert answer.status == 200
    store.put("raw/data", b"first version")
    first = store.head("raw/data")
    store.put("raw/data", b"other version")
    second = store.head("raw/data")
    uri = f"{s3_world.bucket}/raw/data"
    external_version(
        s3_world,
        {
            b"old": (External(uri, first.version_id, first.etag), 0, b"first version"),
            b"new": (External(uri, None, second.etag), 6, b"version"),
            b"stale": (External(uri, None, first.etag), 0, b"first version"),
        },
    )
    snapshot = s3_world.open()
    assert b"".join(snapshot.read(snapshot.find("old"))) == b"first version"
    assert b"".join(snapshot.read(snapshot.find("new"))) == b"version"
    assert snapshot.physical(snapshot.find("old"))[0][0] == f"{uri}?versionId={first.version_id}"
    with pytest.raises(IntegrityError, match="'stale' cannot be read") as caught:
        list(s3_world.open(cached=False).read(snapshot.find("stale")))
    assert "has changed" in caught.value.why


def test_keys_are_where_the_format_says(world: World) -> None:
    report = world.push(world.plant({b"a": b"1"}), tag="v1")
    digest = content_hash(b"1").hex()
    (nodes,) = world.keys(".penstock/nodes/")
    assert world.keys() == sorted(
        [
            f".penstock/data/{digest[:2]}/{digest}",
            f".penstock/datasets/things/commits/{report.commit.hex()}",
            ".penstock/datasets/things/heads/main/ffffffffffffffff",
            f".penstock/datasets/things/manifests/{report.top_hash.hex()}",
            ".penstock/datasets/things/tags/v1",
            nodes,
        ]
    )
    assert nodes == object_keys.node_key(content_hash(world.store().get(nodes)))


def test_a_node_in_memory_is_no_answer_for_another_promise(world: World) -> None:
    """A reference's place is not hashed: one that points to another directory's node must not be given it."""
    world.push(world.plant({b"safe/x": b"good", b"evil/x": b"bad!"}))
    snapshot = world.open()
    safe, evil = snapshot.find("safe").directory, snapshot.find("evil").directory
    assert safe is not None
    assert evil is not None
    snapshot.load(evil)
    forged = NodeRef(safe.hash, safe.entries, safe.size, evil.location)
    with pytest.raises(IntegrityError):
        snapshot.load(forged)
    with pytest.raises(NodeMissing):
        snapshot.peek(forged)

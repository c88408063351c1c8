"""Targets that look at a disk: buckets in a directory, addresses of entries, the block cache, what is remembered."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from blake3 import blake3
from views.bucket import LocalBucket
from views.writing import publish

from penstock.cache import SMALLEST_BOUND, BlockCache, LocationIndex
from penstock.errors import PenstockError
from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import Extent, External, Kind, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.records import Manifest
from penstock.mountpoint import mount_records
from penstock.repo.read.remembered_versions import Memory
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.refs.repository import Repository
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship
from penstock.store.opening import open_store

from .campaign import Attempt, Target
from .home import at_home
from .mutations import mutate_bytes

__all__ = ["TARGETS", "plant"]

Opened = Iterator[tuple[Sequence[bytes], Attempt]]
ME = Authorship("me", "why", "push")
COMMANDS = (
    ("ls", "demo"),
    ("ls", "-r", "demo/data"),
    ("log", "demo/data"),
    ("log", "--reflog", "demo/data"),
    ("tag", "demo/data"),
    ("branch", "demo/data"),
    ("info", "demo/data:v1"),
    ("verify", "--deep", "demo/data"),
    ("gc", "demo"),
)


def plant(store_url: str, entries: Sequence[TreeEntry]) -> None:
    """Make a version of these entries in the bucket, as the dataset ``data``: whatever they say."""
    with open_store(store_url) as store:
        sink = NodePackWriter(store.put)
        builder = TreeBuilder(sink)
        for entry in entries:
            builder.add(entry)
        root = builder.finish()
        sink.flush()
        repository = Repository(store, "data")
        publish(repository, Manifest(sink.located(root)), ME)


@contextlib.contextmanager
def _buckets(folder: Path) -> Opened:
    """A bucket of an enemy: objects changed, exchanged, renamed, removed, put behind links, made pipes or giants.

    The input is the seed of what is done to it. Whoever looks at the bucket, or collects its garbage, is told; what is
    read is what it was.
    """
    demo = LocalBucket(folder / "demo", SMALLEST_BOUND)
    source = folder / "source"
    (source / "deep" / "er").mkdir(parents=True)
    content = {"a.txt": b"hello", "deep/b": bytes(3000), "deep/er/c": b"c" * 2_000_000, "empty": b""}
    for name, body in content.items():
        (source / name).write_bytes(body)
    demo.push(source)
    (source / "new").write_bytes(b"new")
    demo.push(source)
    content["new"] = b"new"
    with at_home(folder / "first", demo.settings) as command:
        command("tag", "demo/data", "v1")
    template = folder / "template"
    demo.directory.rename(template)
    objects = sorted(path.relative_to(template) for path in template.rglob("*") if path.is_file())
    outside = folder.parent / "outside" / "secret"

    def harm(rng: random.Random) -> None:
        name = rng.choice(objects)
        path = demo.directory / name
        if not path.is_file() or path.is_symlink():
            return
        match rng.randrange(9):
            case 0 | 1 | 2:
                path.write_bytes(mutate_bytes(rng, [(template / name).read_bytes()], 4 << 20))
            case 3:
                shutil.copyfile(template / rng.choice(objects), path)
            case 4:
                path.unlink()
            case 5:
                path.rename(path.with_name(rng.choice(("0" * 16, "f" * 16, "v2", "\udcff", "main", "x\ny", ".hidden"))))
            case 6:
                path.unlink()
                path.symlink_to(rng.choice((outside, outside.parent, template / rng.choice(objects), path)))
            case 7:
                path.unlink()
                rng.choice((os.mkfifo, os.mkdir))(path)
            case 8:
                os.truncate(path, rng.choice((0, 1, 1 << 33)))

    def attempt(body: bytes) -> None:
        shutil.rmtree(demo.directory, ignore_errors=True)
        shutil.rmtree(demo.settings.cache_directory, ignore_errors=True)
        shutil.copytree(template, demo.directory, symlinks=True)
        rng = random.Random(body)
        if body:
            for _ in range(rng.choice((1, 1, 2, 4))):
                harm(rng)
        failures: list[PenstockError] = []
        for words in COMMANDS if not body else rng.sample(COMMANDS, 2):
            try:
                command(*words)
            except PenstockError as error:
                failures.append(error)
        try:
            read()
        except PenstockError as error:
            failures.append(error)
        if failures:
            raise failures[0]

    def read() -> None:
        with contextlib.closing(open_snapshot("demo/data", demo.settings)) as snapshot:
            for name, wanted in content.items():
                _, entry = snapshot.tree.resolve(tuple(part.encode() for part in name.split("/")))
                for index in range(-(-entry.size // (1 << 20))):
                    block = b"".join(snapshot.fetch_blocks(entry, index, 1))
                    assert block == wanted[index << 20 : (index + 1) << 20], "another byte than was pushed"

    with at_home(folder, demo.settings) as command:
        yield [b""], attempt


@contextlib.contextmanager
def _addresses(folder: Path) -> Opened:
    """Where an entry says its bytes are: no local file is ever read on the word of a data set."""
    demo = LocalBucket(folder / "demo", SMALLEST_BOUND)
    secret = folder.parent / "outside" / "secret"
    data = secret.read_bytes()
    kept = demo.directory / ".penstock" / "data" / "00"
    kept.mkdir(parents=True)
    (kept / "00").write_bytes(data)
    heads = demo.directory / ".penstock" / "datasets"
    samples = [
        f"file://{secret}",
        f"file://localhost{secret}",
        f"file://{folder.parent}/outside/../outside/secret",
        f"file://{demo.directory}/../../../outside/secret",
        f"file://{str(secret).replace('/', '%2F')}",
        "file:///dev/zero",
        "file:///proc/self/environ",
    ]

    def attempt(body: bytes) -> None:
        try:
            uri = body.decode()
        except UnicodeDecodeError:
            return
        shutil.rmtree(heads, ignore_errors=True)
        extents = (Extent(External(uri, None, None), 0, len(data)),)
        plant(
            f"file://{demo.directory}", [TreeEntry(b"file", Kind.FILE, len(data), content_hash(data), extents=extents)]
        )
        with contextlib.closing(open_snapshot("demo/data", demo.settings, cached=False)) as snapshot:
            _, entry = snapshot.tree.resolve((b"file",))
            found = b"".join(snapshot.fetch_blocks(entry, 0, 1))
            assert found != data, "a data set had a file read that is not its own"

    yield [sample.encode() for sample in samples], attempt


def _blocks() -> list[tuple[bytes, bytes]]:
    blocks = [random.Random(seed).randbytes(5000 + seed) for seed in range(6)]
    return [(blake3(block).digest(), block) for block in blocks]


def _must_hold_no_wrong_byte(directory: Path, blocks: Sequence[tuple[bytes, bytes]]) -> None:
    cache = BlockCache(directory, SMALLEST_BOUND)
    try:
        for key, data in blocks:
            found = cache.get(key)
            assert found is None or found == data, "a wrong byte"
        cache.put_many(blocks)
        for key, data in blocks:
            found = cache.get(key)
            assert found is None or found == data, "a wrong byte, after it was put once more"
        cache.verify()
    finally:
        cache.close()


_TAIL = 512


@contextlib.contextmanager
def _segments(folder: Path) -> Opened:
    """The bytes of a segment: its beginning with all records, and its end, where the table of a sealed one is."""
    template, place, blocks = folder / "template", folder / "cache", _blocks()
    cache = BlockCache(template, SMALLEST_BOUND)
    assert all(cache.put_many(blocks))
    cache.close()
    (segment,) = (template / "segments").iterdir()
    content = segment.read_bytes()
    head = sum(len(data) + 64 for _, data in blocks) + 64

    def attempt(body: bytes) -> None:
        for index in ("kept", "lost"):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(template, place, ignore=shutil.ignore_patterns(segment.name))
            target = place / "segments" / segment.name
            with target.open("wb") as file:
                file.truncate(len(content))
                file.write(body[:-_TAIL])
                file.seek(len(content) - _TAIL)
                file.write(body[-_TAIL:])
            if index == "lost":
                for found in place.glob("index*"):
                    shutil.rmtree(found)
            _must_hold_no_wrong_byte(place, blocks)

    yield [content[:head] + content[-_TAIL:]], attempt


@contextlib.contextmanager
def _index(folder: Path) -> Opened:
    """The pages of an index that nobody has open, and the state file that says whether to trust it."""
    template, place, blocks = folder / "template", folder / "cache", _blocks()
    cache = BlockCache(template, SMALLEST_BOUND)
    assert all(cache.put_many(blocks))
    cache.close()
    (index,) = template.glob("index*/data.mdb")
    (state_file,) = template.glob("state*")
    pages, state = index.read_bytes(), state_file.read_bytes()
    mark = b"\0state\0"

    def attempt(body: bytes) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place)
        data, _, other = body.partition(mark)
        if data != pages:
            (place / index.relative_to(template)).write_bytes(data)
        if other != state:
            (place / state_file.name).write_bytes(other)
        _must_hold_no_wrong_byte(place, blocks)

    yield [pages + mark + state], attempt


@contextlib.contextmanager
def _remembered(folder: Path) -> Opened:
    """What the index beside the cache says that a ref led to."""
    demo = LocalBucket(folder / "demo", SMALLEST_BOUND)
    source = folder / "source"
    source.mkdir()
    (source / "a").write_bytes(b"a")
    demo.push(source)
    with contextlib.closing(open_snapshot("demo/data", demo.settings, remember=True)) as snapshot:
        version = snapshot.version
    url = f"file://{demo.directory}"
    namespace = f"versions {url} data".encode()
    key = content_hash(b"main")
    index = LocationIndex(demo.settings.cache_directory, SMALLEST_BOUND)
    sample = index.get(namespace, key)
    assert sample is not None
    with open_session("demo", demo.settings) as session:
        memory = Memory(session, session.repository("data"))

        def attempt(body: bytes) -> None:
            index.put_many(namespace, [(key, body[:1000])])
            found = memory.find("main")
            if found is None:
                raise PenstockError("forgotten")
            assert found.manifest.top_hash == found.version.top_hash == version.top_hash

        try:
            yield [sample], attempt
        finally:
            index.close()


@contextlib.contextmanager
def _state_files(folder: Path) -> Opened:
    """State files of mounts, as another version or a crash may have left them. Sweeping removes nothing else."""
    record = mount_records.MountRecord(
        pid=1 << 22,
        started=1,
        mountpoint=str(folder / "mnt"),
        device=(0, 99),
        handle="demo/data",
        bucket_url="file:///x",
        dataset="data",
        top_hash="0" * 64,
        commit=None,
        since="2026-01-01T00:00:00Z",
        log=None,
        control=str(folder.parent / "outside" / "secret"),
    )

    def attempt(body: bytes) -> None:
        mount_records.Registration(record).let_go()
        path = folder / "penstock" / "mounts" / f"{record.pid}-{record.started}.json"
        path.write_bytes(body)
        mount_records.live_records()
        mount_records.sweep()
        if path.exists():
            path.unlink()
            raise PenstockError("it was left")

    with at_home(folder, LocalBucket(folder / "demo", SMALLEST_BOUND).settings):
        yield [msgspec.json.encode(record)], attempt


TARGETS = (
    Target("buckets", _buckets, inputs=40),
    Target("addresses", _addresses, valid=False, inputs=60),
    Target("segments", _segments, inputs=50),
    Target("index", _index, inputs=80),
    Target("remembered", _remembered, "msgpack"),
    Target("mounts", _state_files, "json", inputs=200),
)

"""A world to push in: a bucket, machines with caches of their own, and directories made from a description.

A tree is described by a dict: path below the directory -> what is there. `bytes` is a file, `Executable`, `Link` and
`None` (an empty directory) are the other kinds. Directories on the way are made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from views.writing import open_writer

from penstock.manifest.build import DiscardSink, TreeBuilder
from penstock.manifest.entry import Kind
from penstock.manifest.merge import Choose
from penstock.manifest.records import Manifest
from penstock.progress import SILENT
from penstock.repo.history.branch_merge import BranchMerge, join
from penstock.repo.history.branches import delete_branch, make_branch, make_tag, reset_branch
from penstock.repo.push.push import PushOutcome, hash_directory, push
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter
from penstock.store import Store, open_store


@dataclass(frozen=True)
class Executable:
    body: bytes


@dataclass(frozen=True)
class Link:
    target: bytes


Item = bytes | Executable | Link | None
Content = Mapping[bytes, Item]


ME = Authorship("tester", "", "test")


class World:
    """A dataset ``things`` in a bucket, seen from one machine at a time."""

    Executable = Executable
    Link = Link

    def __init__(self, folder: Path, bucket: str | None = None) -> None:
        self.folder = folder
        self.bucket = bucket or f"file://{folder}/store"
        self.settings = self.machine("here")
        self._snapshots: list[Snapshot] = []
        self._stores: list[Store] = []

    def machine(self, name: str) -> Settings:
        """Return the settings of a machine with a cache of its own."""
        return Settings(self.folder / "config.toml", self.folder / f"cache-{name}", 256 << 20, {})

    def handle(self, ref: str | None = None, dataset: str = "things") -> str:
        return f"{self.bucket}/{dataset}" + (f":{ref}" if ref else "")

    def plant(self, content: Content, name: str = "data") -> str:
        """Make a directory of this content."""
        top = os.path.join(os.fsencode(self.folder), name.encode())
        os.makedirs(top, exist_ok=True)
        made = {top}
        for path, item in content.items():
            place = os.path.join(top, path)
            folder = place if item is None else os.path.dirname(place)
            if folder not in made:
                os.makedirs(folder, exist_ok=True)
                made.add(folder)
            if isinstance(item, Link):
                os.symlink(item.target, place)
            elif item is not None:
                body = item.body if isinstance(item, Executable) else item
                with open(place, "wb") as file:
                    file.write(body)
                if isinstance(item, Executable):
                    os.chmod(place, 0o755)
        return os.fsdecode(top)

    def push(
        self,
        directory: str,
        ref: str | None = None,
        *,
        tag: str | None = None,
        message: str = "",
        settings: Settings | None = None,
        dataset: str = "things",
    ) -> PushOutcome:
        return push(
            directory,
            parse_handle(self.handle(ref, dataset)),
            settings or self.settings,
            Authorship("tester", message, "push"),
            SILENT,
            tag,
        )

    def writer(
        self,
        branch: str = "main",
        *,
        tag: str | None = None,
        who: Authorship = ME,
        dry_run: bool = False,
        settings: Settings | None = None,
        dataset: str = "things",
    ) -> AbstractContextManager[VersionWriter]:
        """Return a writer that holds its lease within the block."""
        handle = parse_handle(self.handle(dataset=dataset))
        return open_writer(handle, settings or self.settings, who, branch=branch, tag=tag, dry_run=dry_run)

    def make_branch(self, name: str, start: VersionId, who: Authorship = ME) -> None:
        with self.writer(name, who=who) as writer:
            make_branch(writer, start)

    def reset_branch(self, name: str, to: VersionId, who: Authorship = ME) -> VersionId | None:
        with self.writer(name, who=who) as writer:
            return reset_branch(writer, to)

    def delete_branch(
        self, name: str, who: Authorship = ME, *, force: bool = False, dataset: str = "things"
    ) -> VersionId:
        with self.writer(name, who=who, dataset=dataset) as writer:
            return delete_branch(writer, force=force)

    def make_tag(self, name: str, version: VersionId, who: Authorship = ME) -> None:
        with self.writer(tag=name, who=who) as writer:
            make_tag(writer, version)

    def merge(
        self, branch: str, source: bytes, who: Authorship = ME, choose: Choose | None = None, *, dry_run: bool = False
    ) -> BranchMerge:
        with self.writer(branch, who=who, dry_run=dry_run) as writer:
            return join(writer, source, choose)

    def open(
        self, ref: str | None = None, *, settings: Settings | None = None, cached: bool = True, dataset: str = "things"
    ) -> Snapshot:
        snapshot = open_snapshot(self.handle(ref, dataset), settings or self.settings, cached=cached)
        self._snapshots.append(snapshot)
        return snapshot

    def store(self) -> Store:
        store = open_store(self.bucket)
        self._stores.append(store)
        return store

    def repository(self, dataset: str = "things") -> Repository:
        return Repository(self.store(), dataset)

    def keys(self, prefix: str = "") -> list[str]:
        return [found.key for found in self.store().list(prefix)]

    def read_back(self, snapshot: Snapshot) -> dict[bytes, Item]:
        """Return the content of a version, as a description of a tree."""
        found: dict[bytes, Item] = {}
        for names, entry in snapshot.tree.walk():
            path = b"/".join(names)
            if entry.kind is Kind.DIRECTORY:
                if not entry.entries:
                    found[path] = None
            elif entry.kind is Kind.SYMLINK:
                found[path] = Link(entry.target)
            else:
                body = b"".join(map(bytes, snapshot.read(entry)))
                found[path] = Executable(body) if entry.kind is Kind.EXECUTABLE else body
        return found

    @staticmethod
    def rebuilt_top_hash(snapshot: Snapshot) -> bytes:
        """Return the top hash of a tree built anew from what a version lists."""
        builder = TreeBuilder(DiscardSink())
        depth = 0
        for names, entry in snapshot.tree.walk():
            while depth >= len(names):
                builder.leave()
                depth -= 1
            if entry.kind is Kind.DIRECTORY:
                builder.enter(entry.name, metadata=entry.metadata)
                depth += 1
            else:
                builder.add(entry)
        for _ in range(depth):
            builder.leave()
        return Manifest(builder.finish()).top_hash

    @staticmethod
    def hash(directory: str) -> bytes:
        return hash_directory(directory, SILENT)[0]

    def close(self) -> None:
        for opened in (*self._snapshots, *self._stores):
            opened.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A bucket in a local directory."""
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def new_world() -> Iterator[Callable[[Path], World]]:
    """Make worlds in folders of the caller's."""
    made: list[World] = []

    def make(folder: Path) -> World:
        made.append(World(folder))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def s3_world(tmp_path: Path, bucket: str, aws_environment: dict[str, str]) -> Iterator[World]:
    """A bucket on the real S3 server, found by nothing but the AWS variables."""
    world = World(tmp_path, f"s3://{bucket}")
    yield world
    world.close()

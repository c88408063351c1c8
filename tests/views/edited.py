"""An overlay over a version in a real bucket, edited by paths: what a mount does, with no kernel and no event loop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from views.bucket import LocalBucket
from views.memory import Link, Made

from penstock.manifest.entry import Kind, split_path
from penstock.manifest.merge import Side
from penstock.manifest.metadata import canonical_json
from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.commit.overlay_commit import OverlayCommit
from penstock.overlay.commit.steps import OpenOverlay, commit_steps, run_steps
from penstock.overlay.commit.version_build import mounted_directory
from penstock.overlay.discard import Discard, plan_discard
from penstock.overlay.outcomes import CommitReport
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tables.schema import InodeRecord, decode_entry
from penstock.overlay.tree.changes import Changes
from penstock.overlay.tree.namespace import MergedNode, Namespace
from penstock.progress import SILENT, Progress
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import parse_handle

__all__ = ["Edited", "Tree", "settled", "version_tree"]

Tree = dict[str, object]
"""What a tree holds: by path, a `Made`, a `Link`, or the metadata of a directory."""


class Edited:
    """The overlay in `directory` over `handle`; begun anew when it is of nothing. `opened` are inodes in use."""

    def __init__(self, bucket: LocalBucket, directory: Path, handle: str = "demo/data") -> None:
        self.bucket = bucket
        self.directory = directory
        self.overlay = Overlay(os.fspath(directory))
        self.opened: set[int] = set()
        origin = self.overlay.origin
        self.version = open_snapshot(origin.handle if origin is not None else handle, bucket.settings)
        if origin is None:
            version, parsed = self.version, parse_handle(handle)
            root, manifest = version.root, version.manifest
            ref = parsed.ref or "main"
            self.overlay.begin(
                Origin(
                    handle,
                    version.bucket_url,
                    version.dataset,
                    ref,
                    parsed.subdir,
                    root,
                    version.commit_id,
                    manifest,
                    version.root_metadata,
                )
            )
        self.editor = self.overlay.editor(lambda inode: inode in self.opened, umask=0o022, epoch_ns=0)

    @property
    def origin(self) -> Origin:
        origin = self.overlay.origin
        assert origin is not None
        return origin

    @property
    def view(self) -> Namespace:
        return self.overlay.view(self.version.load)

    def node(self, path: str) -> MergedNode:
        found = self.view.resolve(split_path(path))
        assert found is not None, path
        return found

    def _place(self, path: str) -> tuple[int, bytes]:
        names = split_path(path)
        parent = self.view.resolve(names[:-1])
        assert parent is not None
        return parent.inode, names[-1]

    def create(self, path: str, data: bytes = b"", *, mode: int = 0o644) -> int:
        node = self.editor.create(self.view, *self._place(path), Kind.FILE, mode=mode)
        if data:
            self.write_to(node.inode, 0, data)
        return node.inode

    def mkdir(self, path: str) -> int:
        return self.editor.create(self.view, *self._place(path), Kind.DIRECTORY, mode=0o755).inode

    def symlink(self, path: str, target: bytes) -> None:
        self.editor.create(self.view, *self._place(path), Kind.SYMLINK, target=target)

    def link(self, path: str, new: str) -> None:
        self.editor.link(self.view, self.node(path).inode, *self._place(new))

    def write(self, path: str, offset: int, data: bytes) -> None:
        self.write_to(self.node(path).inode, offset, data)

    def write_to(self, inode: int, offset: int, data: bytes) -> None:
        node = self.view.node(inode)
        record = self.editor.record_of(node)
        changed, changes = self.overlay.content.write(inode, record, offset, data, self.editor.counters.generation)
        self.editor.put_content(node, changed, changes)

    def truncate(self, path: str, size: int) -> None:
        node = self.node(path)
        record = self.editor.record_of(node)
        changed, changes = self.overlay.content.truncate(node.inode, record, size, self.editor.counters.generation)
        self.editor.put_content(node, changed, changes)

    def unlink(self, path: str) -> None:
        self.editor.unlink(self.view, *self._place(path))

    def rmdir(self, path: str) -> None:
        self.editor.rmdir(self.view, *self._place(path))

    def rename(self, old: str, new: str, *, exchange: bool = False) -> None:
        self.editor.rename(self.view, *self._place(old), *self._place(new), exchange=exchange)

    def chmod(self, path: str, mode: int) -> None:
        self.editor.change(self.node(path), mode=mode)

    def describe(self, path: str, metadata: dict[str, object]) -> None:
        self.editor.change(self.node(path), metadata=canonical_json(metadata))

    def read(self, path: str) -> bytes:
        node = self.node(path)
        return self.read_node(node)

    def read_node(self, node: MergedNode) -> bytes:
        if node.record is None:
            assert node.entry is not None
            return b"".join(self.version.read(node.entry))
        record: InodeRecord = node.record
        lower = b"".join(self.version.read(decode_entry(record.entry))) if record.entry and record.shown else b""
        return self.overlay.content.read_file(node.inode, record, 0, record.size, lambda start, end: lower[start:end])

    def tree(self) -> Tree:
        """Read all of the merged tree."""
        found: Tree = {}
        self._read(self.node(""), "", found)
        return found

    def _read(self, directory: MergedNode, prefix: str, found: Tree) -> None:
        for item in self.view.items(directory.inode, 0):
            path = prefix + os.fsdecode(item.name)
            attributes = item.node.record or item.node.entry
            assert attributes is not None
            if item.node.is_directory:
                found[path] = self.version.read_metadata(attributes.metadata)
                self._read(item.node, path + "/", found)
            elif item.node.kind is Kind.SYMLINK:
                found[path] = Link(attributes.target)
            else:
                executable = item.node.kind is Kind.EXECUTABLE
                found[path] = Made(
                    self.read_node(item.node), executable, 0, self.version.read_metadata(attributes.metadata)
                )

    def committing(self, message: str = "a change", **options: Any) -> OverlayCommit:
        """Begin nothing yet; `options` are those of `CommitOptions`."""
        return OverlayCommit(
            self.overlay, self.editor, self.version, self.bucket.settings, CommitOptions("me", message, **options)
        )

    def commit(self, message: str = "a change", *, progress: Progress = SILENT, **options: Any) -> CommitReport:
        opened = OpenOverlay(self.overlay, self.editor, self.version, lambda inode: inode in self.opened)
        try:
            report = run_steps(
                commit_steps(opened, self.bucket.settings, CommitOptions("me", message, **options), progress), opened
            )
            self.overlay.records.checkpoint()
            return report
        finally:
            self.editor = self.overlay.editor(lambda inode: inode in self.opened, umask=0o022, epoch_ns=0)

    def changes(self) -> Changes:
        top = mounted_directory(self.origin.manifest, self.origin.subdir, self.version)
        committed = top.directory if top is not None and top.directory is not None else EMPTY_DIRECTORY
        sequence = self.editor.counters.committed
        return Changes(self.overlay.records, self.view, sequence, committed, self.version.load, renames=True)

    def discard(self, *paths: str) -> list[str]:
        """Put changes back; return the paths."""
        wanted = [split_path(path) for path in paths] or [()]
        plan = plan_discard(self.changes(), wanted, self.origin.metadata)
        discarding = Discard(self.overlay, self.editor, plan, lambda inode: inode in self.opened)
        while discarding.step(self.view):
            pass
        return [os.fsdecode(b"/".join(step.path)) for step in plan]

    def committed_tree(self) -> Tree:
        """Read, from the bucket alone, what the clean records are said to stand for."""
        handle = f"demo/{self.origin.dataset}:{self.origin.manifest.top_hash.hex()}"
        if self.origin.subdir:
            handle += f"/{self.origin.subdir}"
        return version_tree(open_snapshot(handle, self.bucket.settings, cached=False))

    def close(self) -> None:
        self.overlay.close()
        self.version.close()


def settled(side: Side) -> dict[str, Any]:
    """Return the options of a commit by which a side wins every conflict; to a merge what is committed is theirs."""
    return {"theirs" if side is Side.OURS else "ours": ("",)}


def version_tree(version: Snapshot) -> Tree:
    """Read all of a version, and close it."""
    found: Tree = {}
    for names, entry in version.tree.walk():
        path = os.fsdecode(b"/".join(names))
        if entry.kind is Kind.DIRECTORY:
            found[path] = version.read_metadata(entry.metadata)
        elif entry.kind is Kind.SYMLINK:
            found[path] = Link(entry.target)
        else:
            found[path] = Made(
                b"".join(version.read(entry)), entry.kind is Kind.EXECUTABLE, 0, version.read_metadata(entry.metadata)
            )
    version.close()
    return found

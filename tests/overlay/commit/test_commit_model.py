"""Random changes, commits with changes going on meanwhile, others' commits: the tree is always a plain dictionary's.

What a commit took is held against the version in the bucket, read without a cache; the overlay is opened again at any
moment.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from views.bucket import LocalBucket, write_tree
from views.edited import Edited, Tree, settled, version_tree
from views.memory import Link, Made, Spec

from penstock.errors import ConflictError, MergeConflictError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.manifest.merge import Side
from penstock.overlay.commit.layer_merge import LayerMerge
from penstock.overlay.commit.overlay_commit import OverlayCommit
from penstock.progress import SILENT
from penstock.repo.read.snapshot import open_snapshot

_SPEC: Spec = {
    b"a": Made(b"first\n"),
    b"b": {b"a": {b"a": Made(b"x"), b"b": Made(b"y" * 100)}, b"b": Link(b"../a"), b"c": Made(b"1")},
    b"c": Made(bytes(range(256)) * (BLOCK_SIZE // 128 + 3)),
    b"d": {b"a": Made(b"file"), b"e": {}},
}
_PLAIN: Tree = {
    "a": Made(b"first\n", False, 0),
    "b": b"",
    "b/a": b"",
    "b/a/a": Made(b"x", False, 0),
    "b/a/b": Made(b"y" * 100, False, 0),
    "b/b": Link(b"../a"),
    "b/c": Made(b"1", False, 0),
    "c": Made(bytes(range(256)) * (BLOCK_SIZE // 128 + 3), False, 0),
    "d": b"",
    "d/a": Made(b"file", False, 0),
    "d/e": b"",
}
_names = st.sampled_from("abcde")
_choice = st.integers(0, 1 << 16)
_offsets = st.one_of(
    st.integers(0, 300), st.integers(BLOCK_SIZE - 2, BLOCK_SIZE + 2), st.integers(2 * BLOCK_SIZE, 2 * BLOCK_SIZE + 800)
)


def _is_folder(item: object) -> bool:
    return isinstance(item, bytes)


class OverlayMachine(RuleBasedStateMachine):
    """An overlay, and what its tree should be."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.commit: OverlayCommit | None = None
        self.landed = False
        self.taken: Tree = {}
        self.others = False
        """Whether somebody else has committed, so that the newest version may have more."""

    @initialize()
    def begin(self) -> None:
        root = Path(self.place.name)
        self.bucket = LocalBucket(root)
        write_tree(root / "source", _SPEC)
        self.bucket.push(root / "source")
        self.edited = Edited(self.bucket, root / "overlay")
        self.model: Tree = dict(_PLAIN)
        self.base: Tree = dict(_PLAIN)

    def _pick(self, at: int, wanted: Callable[[object], bool]) -> str | None:
        found = sorted(path for path, item in self.model.items() if wanted(item))
        return found[at % len(found)] if found else None

    def _set(self, path: str, item: object) -> None:
        """Have all names of what is at a path stand for something else."""
        inode = self.edited.node(path).inode
        for other, old in self.model.items():
            if type(old) is type(item) and self.edited.node(other).inode == inode:
                self.model[other] = item

    def _check_links(self) -> None:
        """Look whether every inode knows how many names it has."""
        names = Counter(self.edited.node(path).inode for path in self.model)
        for inode, count in names.items():
            record = self.edited.view.record(inode)
            links = record.links if record is not None else 0
            assert links == count or (links, count) == (0, 1)
            if count > 1:
                place = self.edited.view.place(inode)
                assert place is not None
                found = self.edited.view.lookup(*place)
                assert found is not None
                assert found.inode == inode

    def _free(self, at: int, name: str) -> str | None:
        folders = ["", *sorted(path for path, item in self.model.items() if _is_folder(item))]
        folder = folders[at % len(folders)]
        path = f"{folder}/{name}" if folder else name
        return path if path not in self.model and path.count("/") < 5 else None

    @rule(at=_choice, name=_names, data=st.binary(max_size=40))
    def create(self, at: int, name: str, data: bytes) -> None:
        if path := self._free(at, name):
            self.edited.create(path, data)
            self.model[path] = Made(data, False, 0)

    @rule(at=_choice, name=_names)
    def mkdir(self, at: int, name: str) -> None:
        if path := self._free(at, name):
            self.edited.mkdir(path)
            self.model[path] = b""

    @rule(at=_choice, name=_names)
    def symlink(self, at: int, name: str) -> None:
        if path := self._free(at, name):
            self.edited.symlink(path, b"target")
            self.model[path] = Link(b"target")

    @rule(at=_choice, offset=_offsets, data=st.binary(min_size=1, max_size=20))
    def write(self, at: int, offset: int, data: bytes) -> None:
        if path := self._pick(at, lambda item: isinstance(item, Made)):
            old = self.model[path]
            assert isinstance(old, Made)
            new = bytearray(old.data.ljust(offset, b"\0"))
            new[offset : offset + len(data)] = data
            self.edited.write(path, offset, data)
            self._set(path, Made(bytes(new), old.executable, 0, old.metadata))

    @rule(at=_choice, size=_offsets)
    def truncate(self, at: int, size: int) -> None:
        if path := self._pick(at, lambda item: isinstance(item, Made)):
            old = self.model[path]
            assert isinstance(old, Made)
            self.edited.truncate(path, size)
            self._set(path, Made(old.data[:size].ljust(size, b"\0"), old.executable, 0, old.metadata))

    @rule(at=_choice, executable=st.booleans())
    def chmod(self, at: int, executable: bool) -> None:
        if path := self._pick(at, lambda item: isinstance(item, Made)):
            old = self.model[path]
            assert isinstance(old, Made)
            self.edited.chmod(path, 0o755 if executable else 0o644)
            self._set(path, Made(old.data, executable, 0, old.metadata))

    @rule(at=_choice, value=st.integers(0, 2))
    def describe(self, at: int, value: int) -> None:
        if path := self._pick(at, lambda item: not isinstance(item, Link)):
            metadata = b'{"v":%d}' % value
            self.edited.describe(path, {"v": value})
            old = self.model[path]
            self._set(path, Made(old.data, old.executable, 0, metadata) if isinstance(old, Made) else metadata)

    @rule(at=_choice, to=_choice, name=_names)
    def link(self, at: int, to: int, name: str) -> None:
        old, new = self._pick(at, lambda item: not _is_folder(item)), self._free(to, name)
        if old is not None and new is not None:
            self.edited.link(old, new)
            self.model[new] = self.model[old]

    @rule(at=_choice)
    def remove(self, at: int) -> None:
        path = self._pick(at, lambda _: True)
        if path is None or any(other.startswith(path + "/") for other in self.model):
            return
        if _is_folder(self.model.pop(path)):
            self.edited.rmdir(path)
        else:
            self.edited.unlink(path)

    @rule(at=_choice, to=_choice, name=_names)
    def rename(self, at: int, to: int, name: str) -> None:
        old, new = self._pick(at, lambda _: True), self._free(to, name)
        if old is None or new is None or new.startswith(old + "/"):
            return
        self.edited.rename(old, new)
        self._move({old: new})

    @rule(at=_choice, to=_choice)
    def replace(self, at: int, to: int) -> None:
        old = self._pick(at, lambda item: not _is_folder(item))
        new = self._pick(to, lambda item: not _is_folder(item))
        if old is None or new is None or self.edited.node(old).inode == self.edited.node(new).inode:
            return
        self.edited.rename(old, new)
        self._move({old: new})

    @rule(at=_choice, to=_choice)
    def exchange(self, at: int, to: int) -> None:
        old, new = self._pick(at, lambda _: True), self._pick(to, lambda _: True)
        if old is None or new is None or self.edited.node(old).inode == self.edited.node(new).inode:
            return
        if f"{old}/".startswith(f"{new}/") or f"{new}/".startswith(f"{old}/"):
            return
        self.edited.rename(old, new, exchange=True)
        self._move({old: new, new: old})

    def _move(self, places: dict[str, str]) -> None:
        moved: Tree = {}
        for old, new in places.items():
            for path in [path for path in self.model if path == old or path.startswith(old + "/")]:
                moved[new + path[len(old) :]] = self.model[path]
        for old in places:
            for path in [path for path in self.model if path == old or path.startswith(old + "/")]:
                del self.model[path]
        self.model.update(moved)

    @rule()
    def look(self) -> None:
        assert self.edited.tree() == self.model
        self._check_links()

    @precondition(lambda self: self.commit is None)
    @rule(side=st.sampled_from(Side))
    def commit_whole(self, side: Side) -> None:
        try:
            report = self.edited.commit()
        except MergeConflictError:
            assert self.edited.tree() == self.model
            report = self.edited.commit(**settled(side))
        if report.merged_with is not None:
            self.model = self._newest()
        assert self.edited.tree() == self.model
        assert not self.edited.overlay.is_dirty()
        self._check_committed(self.model)

    @rule(at=_choice, to=_choice, name=_names, data=st.binary(max_size=9))
    def others_commit(self, at: int, to: int, name: str, data: bytes) -> None:
        """Somebody else writes or removes something, and moves something."""
        with tempfile.TemporaryDirectory() as place:
            other = Edited(self.bucket, Path(place) / "overlay")
            tree = other.tree()
            files = sorted(path for path, item in tree.items() if isinstance(item, Made))
            if files and at % 3:
                other.write(files[at % len(files)], 1, data or b"!")
            elif files:
                other.unlink(files[at % len(files)])
            paths = sorted(other.tree())
            if paths and to % 2 and name not in tree:
                other.rename(paths[to % len(paths)], name)
            self.others |= other.commit("others").commit is not None
            other.close()

    def _newest(self) -> Tree:
        return version_tree(open_snapshot("demo/data", self.bucket.settings, cached=False))

    @precondition(lambda self: self.commit is None)
    @rule()
    def begin_commit(self) -> None:
        self.commit = self.edited.committing(**settled(Side.THEIRS))
        self.commit.begin()
        self.taken = dict(self.model)
        self.landed = False

    @precondition(lambda self: self.commit is not None and not self.landed)
    @rule()
    def land(self) -> None:
        assert self.commit is not None
        if self.commit.build(SILENT):
            self.commit.intend()
            self.commit.land()
            if self.commit.report.merged_with is not None:
                self.taken = self._newest()
        self.landed = True

    @precondition(lambda self: self.commit is not None)
    @rule()
    def end_commit(self) -> None:
        assert self.commit is not None
        if self.landed:
            settling = self.commit.settle(lambda _: False)
            merged = self.commit.report.merged_with is not None
            try:
                while settling.step(self.edited.view):
                    pass
            except ConflictError:  # others changed what was changed here meanwhile: it is as it was
                assert merged
                assert self.edited.tree() == self.model
            else:
                # What others did is there, and what was changed here meanwhile.
                self._check_committed(self.taken)
                self.model = self.edited.tree() if merged else self.model
        self.commit.close()
        if self.commit.leaves_layers:
            layering = LayerMerge(self.edited.overlay, self.edited.editor)
            while layering.step(self.edited.view):
                pass
            assert all(len(record.layers) <= 2 for _, record in self.edited.view.records(0))
        self.commit = None

    @precondition(lambda self: self.commit is None)
    @rule()
    def discard(self) -> None:
        self.edited.discard()
        self.model = dict(self.base)
        assert self.edited.tree() == self.model
        assert not self.edited.overlay.is_dirty()

    def _check_committed(self, wanted: Tree) -> None:
        self.base = dict(wanted)
        assert self.edited.committed_tree() == wanted
        if not self.others:
            assert self._newest() == wanted

    @precondition(lambda self: self.commit is None)
    @rule()
    def open_again(self) -> None:
        self.edited.close()
        self.edited = Edited(self.bucket, self.edited.directory)

    def teardown(self) -> None:
        if hasattr(self, "edited"):
            if self.commit is not None:
                self.end_commit()
            assert self.edited.tree() == self.model
            self._check_links()
            self.commit_whole(Side.THEIRS)
            self.edited.close()
        self.place.cleanup()


TestOverlay = OverlayMachine.TestCase
TestOverlay.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

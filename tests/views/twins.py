"""The same random changes made to two directories, one of them a mount: whatever a call answers must be the same.

`Twins` draws changes from a generator of random numbers, so that a seed tells all of a run.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import stat
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Twins", "observed"]

_T = TypeVar("_T")
_RECENT_NS = 1_750_000_000_000_000_000
"""Times from here on are those of a change that was just made, and not the same in both."""
_OLD_NS = 1_200_000_000_123_456_789
_NAMES = [b"a", b"b", b"c", b"deep", "\u00fc".encode(), b"new\nline", b"\xff\xfe", b"y" * 255]
_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def observed(root: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return what there is below a directory: by path, all that a program can see and that is not of the moment."""
    found: dict[bytes, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(facts.st_mode):
                with open(path, "rb") as stream:
                    content = stream.read()
                assert len(content) == facts.st_size
            executable = stat.S_ISREG(facts.st_mode) and bool(facts.st_mode & 0o100)
            old = facts.st_mtime_ns if facts.st_mtime_ns < _RECENT_NS and stat.S_ISREG(facts.st_mode) else None
            found[os.path.relpath(path, root)] = (stat.filemode(facts.st_mode)[0], executable, old, content)
    return found


class Twins:
    """Two directories that are equal now, and all that is open in them. `largest`: bytes that files grow to."""

    def __init__(self, one: bytes, other: bytes, seed: int, *, largest: int = 200_000) -> None:
        self.roots = (one, other)
        self._random = random.Random(seed)
        self._largest = largest
        self._open: list[tuple[int, int]] = []

    def compare(self) -> None:
        """Hold both trees against each other, and what is open."""
        one, other = (observed(root) for root in self.roots)
        assert one.keys() == other.keys()
        for path, seen in one.items():
            assert seen == other[path], path
        for pair in self._open:
            ours, theirs = (os.pread(each, self._largest * 2, 0) for each in pair)
            assert ours == theirs

    def close(self) -> None:
        """Close all that is open."""
        while self._open:
            for each in self._open.pop():
                os.close(each)

    def step(self) -> None:
        """Make one change in both."""
        steps: list[tuple[int, Callable[[], None]]] = [
            (6, self._write),
            (3, self._append),
            (3, self._truncate),
            (3, self._open_one),
            (3, self._use_open),
            (1, self._close_one),
            (2, self._map),
            (3, lambda: self._both(os.mkdir, self._some_name())),
            (3, self._rename),
            (1, self._exchange),
            (2, lambda: self._both(os.unlink, self._some())),
            (2, lambda: self._both(os.rmdir, self._some())),
            (2, self._symlink),
            (1, self._mode),
            (1, self._times),
            (1, self._remove_tree),
            (1, self._list),
        ]
        self._random.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()

    def _both(self, call: Callable[[bytes], _T], path: bytes) -> _T | None:
        """Make a call on a path of each; the answers, and what they were refused with, must be the same."""
        return self._same(lambda at: call(os.path.join(self.roots[at], path)), path)

    def _same(self, call: Callable[[int], _T], what: object) -> _T | None:
        answers: list[object] = []
        result: _T | None = None
        for at in (0, 1):
            try:
                result = call(at)
                answers.append(result)
            except OSError as error:
                answers.append(errno.errorcode[error.errno or 0])
        assert answers[0] == answers[1], (what, answers)
        return result

    def _list(self) -> None:
        self._both(lambda path: sorted(os.listdir(path)), self._some_folder())

    def _paths(self) -> list[bytes]:
        root = self.roots[1]
        found = []
        for folder, folders, files in os.walk(root):
            found += [os.path.relpath(os.path.join(folder, name), root) for name in folders + files]
        return sorted(found)

    def _some(self) -> bytes:
        """Return the path of something that is there, or now and then of nothing."""
        paths = self._paths()
        return self._random.choice(paths) if paths and self._random.random() < 0.9 else b"nothing/here"

    def _some_folder(self) -> bytes:
        root = self.roots[1]
        folders = [path for path in self._paths() if os.path.isdir(os.path.join(root, path))]
        return self._random.choice([*folders, b"."])

    def _some_name(self) -> bytes:
        if self._random.random() < 0.3:
            return self._some()
        return os.path.join(self._some_folder(), self._random.choice(_NAMES))

    def _some_file(self) -> bytes:
        root = self.roots[1]
        files = [path for path in self._paths() if os.path.isfile(os.path.join(root, path))]
        return self._random.choice(files) if files and self._random.random() < 0.7 else self._some_name()

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice([0, 1, 10, 4096, 5000, 70_000]))

    def _offset(self) -> int:
        return self._random.choice([0, 0, 1, 4095, 4096, self._random.randrange(self._largest)])

    def _write(self) -> None:
        data, offset, fresh = self._bytes(), self._offset(), self._random.random() < 0.3

        def write(path: bytes) -> None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if fresh else 0), 0o644)
            try:
                os.pwrite(descriptor, data, offset)
            finally:
                os.close(descriptor)

        self._both(write, self._some_file())

    def _append(self) -> None:
        data = self._bytes()

        def append(path: bytes) -> None:
            with open(path, "ab") as stream:
                stream.write(data)

        self._both(append, self._some_file())

    def _truncate(self) -> None:
        size = self._random.choice([0, self._offset()])
        self._both(lambda path: os.truncate(path, size), self._some_file())

    def _open_one(self) -> None:
        if len(self._open) > 8:
            self._close_one()
        path = self._some_file()
        pair: list[int] = []
        self._both(lambda path: pair.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o644)), path)
        if pair:
            self._open.append((pair[0], pair[1]))

    def _close_one(self) -> None:
        if self._open:
            for each in self._open.pop(self._random.randrange(len(self._open))):
                os.close(each)

    def _use_open(self) -> None:
        if not self._open:
            return
        pair, offset, data = self._random.choice(self._open), self._offset(), self._bytes()
        what = self._random.randrange(4)

        def use(at: int) -> object:
            if what == 0:
                return os.pread(pair[at], 70_000, offset)
            if what == 1:
                os.ftruncate(pair[at], offset)
            elif what == 2:
                return os.pwrite(pair[at], data, offset)
            else:
                os.fsync(pair[at])
            return os.fstat(pair[at]).st_size

        self._same(use, (what, offset, len(data)))

    def _map(self) -> None:
        place, data = self._random.random(), self._random.randbytes(5000)

        def write(path: bytes) -> None:
            with open(path, "r+b") as stream:
                size = os.fstat(stream.fileno()).st_size
                if size:
                    with mmap.mmap(stream.fileno(), size) as mapped:
                        start = int(place * size)
                        part = data[: size - start]
                        mapped[start : start + len(part)] = part

        self._both(write, self._some_file())

    def _rename(self) -> None:
        source, target = self._some(), self._some_name()
        self._same(
            lambda at: os.rename(os.path.join(self.roots[at], source), os.path.join(self.roots[at], target)),
            (source, target),
        )

    def _exchange(self) -> None:
        source, target = self._some(), self._some()

        def exchange(at: int) -> None:
            one, other = (os.path.join(self.roots[at], path) for path in (source, target))
            if _libc.renameat2(-100, one, -100, other, _EXCHANGE):
                raise OSError(ctypes.get_errno(), "renameat2")

        self._same(exchange, (source, target))

    def _symlink(self) -> None:
        target = self._random.choice([b"a", b"../b", b"nowhere", b"x" * 1000])
        self._both(lambda path: os.symlink(target, path), self._some_name())

    def _mode(self) -> None:
        mode = self._random.choice([0o755, 0o644])
        path = self._some_file()
        self._both(lambda path: os.chmod(path, mode, follow_symlinks=True), path)

    def _times(self) -> None:
        time = _OLD_NS + self._random.randrange(1 << 40)
        self._both(lambda path: os.utime(path, ns=(time, time)), self._some_file())

    def _remove_tree(self) -> None:
        folder = self._some_folder()
        whole = os.path.join(self.roots[1], folder)
        if folder == b"." or os.path.realpath(whole) != os.path.join(os.path.realpath(self.roots[1]), folder):
            return  # beyond a symlink, what goes first decides on what can be reached

        def remove(path: bytes) -> None:
            for inner, folders, files in os.walk(path, topdown=False):
                for name in files:
                    os.unlink(os.path.join(inner, name))
                for name in folders:
                    below = os.path.join(inner, name)
                    (os.unlink if os.path.islink(below) else os.rmdir)(below)
            os.rmdir(path)

        self._both(remove, folder)

"""Where outputs lie aside while their stage runs, so that a failure, a kill or a full disk loses none of them.

    stages/shelf/ID/record       which stage, and which paths: written before anything is moved
    stages/shelf/ID/old/N        what was at the Nth path before
    stages/shelf/ID/running      all is aside: what is at the paths from now on is what the command makes
    stages/shelf/ID/left         that was moved to `failed`: what is at the paths from now on was put back
    stages/shelf/ID/done         the stage has made its outputs: what is in `old` is of the past
    stages/failed/STAGE.ID/N-NAME what the last failed run of a stage left
    kept/TIME-STAGE/N-NAME       what was not made by its stage and had to give way

**Invariant:** a path is moved by one rename(2), so at every step each thing lies in exactly one place, which `recover`
finds. It is called under the project's lock, before anything else is done: what a dead process left is put back.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from penstock.errors import AccessError, IntegrityError
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import replace_file

__all__ = ["Shelf", "ShelvedOutputs"]

_MOST_RECORD = 16 << 20


class _Record(msgspec.Struct, frozen=True):
    stage: str
    paths: list[str]
    keep: list[int]
    """Numbers of the paths whose old content has to be kept for the user when the stage succeeds."""


class Shelf:
    """The shelf of one work tree. `root` and `state` are the project's."""

    def __init__(self, root: str, state: str) -> None:
        self._root = root
        self._kept = os.path.join(state, "kept")
        self._failed = os.path.join(state, "stages", "failed")
        self._place = os.path.join(state, "stages", "shelf")

    def take(self, stage: str, paths: Sequence[str], keep: Sequence[int] = ()) -> ShelvedOutputs:
        """Move what is at paths (from the root) aside, for a stage that makes them anew. AccessError: it cannot be."""
        shelved = ShelvedOutputs(self._root, os.path.join(self._place, os.urandom(8).hex()), self)
        with _explained("put aside", stage):
            shelved.begin(_Record(stage, list(paths), list(keep)))
        return shelved

    def recover(self) -> list[str]:
        """Put back what runs that died had moved aside; return the names of their stages."""
        names = []
        for name in _listing(self._place):
            shelved = ShelvedOutputs(self._root, os.path.join(self._place, name), self)
            with _explained("put back", name):
                if stage := shelved.recover():
                    names.append(stage)
        return names

    def to_failed(self, stage: str, run: str, paths: Sequence[str]) -> str | None:
        """Move what a failed run left at paths to where it can be looked at; what earlier ones left goes."""
        name = _file_name(stage)
        folder = os.path.join(self._failed, f"{name}.{run}")
        left = [(at, path) for at, path in enumerate(paths) if os.path.lexists(os.path.join(self._root, path))]
        if left:
            self._move(folder, left)
        for other in _listing(self._failed):
            if other.rpartition(".")[0] == name and other != f"{name}.{run}":
                remove(os.path.join(self._failed, other))
        return folder if os.path.lexists(folder) else None

    def to_kept(self, stage: str, paths: Sequence[str]) -> str | None:
        """Move what the user has changed at paths to where it is kept for him; where that is."""
        folder = os.path.join(self._kept, f"{time.strftime('%Y%m%d-%H%M%S')}-{_file_name(stage)}-{os.urandom(2).hex()}")
        left = [(at, path) for at, path in enumerate(paths) if os.path.lexists(os.path.join(self._root, path))]
        return self._move(folder, left) if left else None

    def keep_shelved(self, stage: str, left: Sequence[tuple[str, str]]) -> str:
        """Move things, each with the path that it had, to where they are kept."""
        folder = os.path.join(self._kept, f"{time.strftime('%Y%m%d-%H%M%S')}-{_file_name(stage)}-{os.urandom(2).hex()}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for at, (place, path) in enumerate(left):
            move(place, os.path.join(folder, f"{at}-{os.path.basename(path)}"))
        return folder

    def _move(self, folder: str, left: Sequence[tuple[int, str]]) -> str:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for at, path in left:
            move(os.path.join(self._root, path), os.path.join(folder, f"{at}-{os.path.basename(path)}"))
        return folder


class ShelvedOutputs:
    """The outputs of one run, moved aside: `finish` when it has made them anew, else `put_back`."""

    def __init__(self, root: str, folder: str, shelf: Shelf) -> None:
        self._root = root
        self._folder = folder
        self._shelf = shelf
        self._record = _Record("", [], [])

    def begin(self, record: _Record) -> None:
        """Write down what is moved, and move it."""
        os.makedirs(os.path.join(self._folder, "old"), mode=0o700)
        replace_file(os.path.join(self._folder, "record"), msgspec.json.encode(record))
        self._record = record
        for at, path in enumerate(record.paths):
            place = os.path.join(self._root, path)
            if os.path.lexists(place):
                move(place, self._old(at))

    def finish(self) -> str | None:
        """Say that the outputs are made: what was there before goes, or is kept where it was the user's; then where."""
        self._note("done")
        return self._clear()

    def put_back(self) -> str | None:
        """Move what the run left aside, and what was there before back; where the first is now."""
        record = self._record
        with _explained("put back", record.stage):
            failed = None
            if self._is("running") and not self._is("left"):
                failed = self._shelf.to_failed(record.stage, os.path.basename(self._folder), record.paths)
                self._note("left")  # from here on, what is at a path is what was put back
            for at, path in enumerate(record.paths):
                place = os.path.join(self._root, path)
                if os.path.lexists(self._old(at)) and not os.path.lexists(place):
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    move(self._old(at), place)
            if any(os.path.lexists(self._old(at)) for at in range(len(record.paths))):
                self.keep_rest()
            remove(self._folder)
        return failed

    def keep_rest(self) -> None:
        """Keep what cannot go back because something else has its place."""
        left = [(self._old(at), path) for at, path in enumerate(self._record.paths) if os.path.lexists(self._old(at))]
        self._shelf.keep_shelved(self._record.stage, left)

    def note_moved(self) -> None:
        """Say that all is aside and the command is about to run: what is at the paths from now on is what it makes."""
        self._note("running")

    def _note(self, name: str) -> None:
        replace_file(os.path.join(self._folder, name), b"")

    def _is(self, name: str) -> bool:
        return os.path.lexists(os.path.join(self._folder, name))

    def recover(self) -> str | None:
        """Settle a run that died; the name of its stage where anything was put back."""
        body = read_bounded(os.path.join(self._folder, "record"), _MOST_RECORD)
        if body is None:  # it died before anything was moved
            shutil.rmtree(self._folder, ignore_errors=True)
            return None
        try:
            self._record = msgspec.json.decode(body, type=_Record)
        except msgspec.MsgspecError as error:
            raise IntegrityError(
                f"{self._folder} is damaged",
                why="it says which outputs a run that died had put aside",
                fix="Look into it for what you need, then remove it.",
            ) from error
        if self._is("done"):
            self._clear()
            return None
        self.put_back()
        return self._record.stage

    def _clear(self) -> str | None:
        left = [
            (self._old(at), self._record.paths[at])
            for at in self._record.keep
            if at < len(self._record.paths) and os.path.lexists(self._old(at))
        ]
        kept = self._shelf.keep_shelved(self._record.stage, left) if left else None
        remove(self._folder)
        return kept

    def _old(self, at: int) -> str:
        return os.path.join(self._folder, "old", str(at))


def move(source: str, target: str) -> None:
    """Rename; onto another file system, copy and then remove."""
    try:
        os.rename(source, target)
    except OSError as error:
        import errno

        if error.errno != errno.EXDEV:
            raise
        shutil.move(source, target)


def remove(path: str) -> None:
    """Remove a tree, also where its directories may not be written to."""
    if not os.path.isdir(path) or os.path.islink(path):
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _file_name(stage: str) -> str:
    return stage.replace("/", "+")[-120:]


class _explained:  # noqa: N801  # a context manager, used as a function
    """Errors of the disk, as ours."""

    def __init__(self, what: str, stage: str) -> None:
        self._what = what
        self._stage = stage

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise AccessError(
                f"outputs of stage {self._stage!r} cannot be {self._what}",
                why=f"{error.strerror or error}: {error.filename or ''}",
                fix="Unmount what is mounted there, make room, or give yourself access. Nothing was lost.",
            ) from error

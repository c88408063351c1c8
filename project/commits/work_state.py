"""What a work tree notes of itself, in ``penstock/`` of its git directory: small files, whatever the data.

applied     the versions that folders and databases were brought to, and for which commit; `at`: that commit, for sh
pending     versions that were made for a commit that is not there yet
choice      how conflicts of records are to be settled
watched     the files that declare datasets, and what they import: what sh has git compare
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Literal, TypeVar

import msgspec

from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import replace_file

from .ties import TiedFile

__all__ = ["Applied", "MergeChoice", "Pending", "WorkState"]

_MOST = 1 << 20
T = TypeVar("T", bound=msgspec.Struct)
Side = Literal["ours", "theirs"]


class Applied(msgspec.Struct, frozen=True):
    """What the folders beside each file were brought to. `is_whole`: False while that is being done.

    `databases`: size, time and inode of each, as it was left.
    """

    commit: str = ""
    files: dict[str, TiedFile] = {}
    databases: dict[str, tuple[int, int, int]] = {}
    is_whole: bool = True


class Pending(msgspec.Struct, frozen=True):
    """Versions for a commit on top of `head`, and of what is merged into it."""

    head: str
    merged: tuple[str, ...]
    files: dict[str, TiedFile]


class MergeChoice(msgspec.Struct, frozen=True):
    """Whose state of records is taken: for all, and for some by their ids."""

    all: Side | None = None
    records: dict[str, Side] = {}

    def of(self, identity: str) -> Side | None:
        """Return whose state of a record is taken."""
        side = self.records.get(identity)
        return self.all if side is None else side


class WorkState:
    """The notes of a work tree. Read strictly: one that is damaged counts as none, for it can be made anew."""

    def __init__(self, project: Project) -> None:
        assert project.git is not None
        self.folder = os.path.join(project.git, "penstock")

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _read(self, name: str, kind: type[T]) -> T | None:
        body = read_bounded(self._path(name), _MOST)
        if body is None:
            return None
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _write(self, name: str, value: msgspec.Struct | None) -> None:
        if value is None:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))
            return
        os.makedirs(self.folder, exist_ok=True)
        replace_file(self._path(name), msgspec.json.encode(value))

    @property
    def applied(self) -> Applied:
        """What the folders were brought to."""
        return self._read("applied", Applied) or Applied(is_whole=False)

    @applied.setter
    def applied(self, value: Applied) -> None:
        self._write("applied", value)
        replace_file(self._path("at"), (value.commit if value.is_whole else "").encode() + b"\n")

    @property
    def pending(self) -> Pending | None:
        """What was made for a commit to come."""
        return self._read("pending", Pending)

    @pending.setter
    def pending(self, value: Pending | None) -> None:
        self._write("pending", value)

    @property
    def choice(self) -> MergeChoice:
        """How conflicts are to be settled."""
        return self._read("choice", MergeChoice) or MergeChoice()

    @choice.setter
    def choice(self, value: MergeChoice | None) -> None:
        self._write("choice", value)

    def watch(self, paths: list[str]) -> None:
        """Note the files whose changes matter."""
        os.makedirs(self.folder, exist_ok=True)
        body = b"".join(os.fsencode(f":(top,literal){path}") + b"\n" for path in sorted(paths))
        if read_bounded(self._path("watched"), _MOST) != body:
            replace_file(self._path("watched"), body)

    def forget_watched(self) -> None:
        """Have the next commit look at everything: a file is tracked whose versions no commit has made."""
        with suppress(FileNotFoundError):
            os.unlink(self._path("watched"))

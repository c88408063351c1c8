"""Stages, locks and small files as they are in the work tree, or were at a revision of git.

What git has is read from git; what Penstock keeps, from the local bucket or a remote, by the lock or pointer of that
revision. Bounded, as all that comes from a repository.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from penstock.errors import IntegrityError, NotFoundError
from penstock.project.git import ask_git, git_line, git_succeeds
from penstock.project.pointer import SUFFIX, parse_pointer
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.stages.definition.lock_file import LOCK_FILE, Kind, LockedStage, MadeOutput, parse_lock
from penstock.project.stages.definition.pipeline import stage_folders
from penstock.project.stages.definition.stage import Stage
from penstock.project.stages.definition.stage_file import MOST_BYTES as MOST_STAGES
from penstock.project.stages.definition.stage_file import STAGES_FILE, parse_stages
from penstock.project.stages.findings.documents import MOST_BYTES, Value, parse_document

if TYPE_CHECKING:
    from penstock.repo.session.bucket_session import BucketSession
    from penstock.repo.settings.settings import Settings

__all__ = ["Kept", "ProjectRevision", "Revisions"]

_MOST_LOCK = 64 << 20


class Kept:
    """Reads what Penstock keeps of a project. Opened when it is first asked; closed by `close`."""

    def __init__(self, project: Project, settings: Callable[[], Settings]) -> None:
        self._project = project
        self._settings = settings
        self._stack = ExitStack()

    def close(self) -> None:
        """Close what was opened."""
        self._stack.close()

    @cached_property
    def session(self) -> BucketSession:
        """The local bucket on top of the project's remotes."""
        from penstock.project.local_bucket import open_layered

        return self._stack.enter_context(closing(open_layered(self._project, self._settings())))

    def read(self, output: MadeOutput, names: tuple[bytes, ...], most: int) -> bytes | None:
        """Return a file of a version: its only one where it holds one. None: there is no such file."""
        from penstock.project.stored_version import open_version

        snapshot = open_version(self.session, self._project.file.dataset, bytes.fromhex(output.hash))
        tree = snapshot.tree
        try:
            entry = next(tree.children(tree.root))[1] if output.kind == "file" else tree.resolve(names)[1]
        except (NotFoundError, StopIteration):
            return None
        if not entry.is_file:
            return None
        if entry.size > most:
            raise IntegrityError(f"{b'/'.join(names)!r} has more than {most >> 20} MiB")
        return b"".join(map(bytes, snapshot.read(entry)))


@dataclass(frozen=True)
class ProjectRevision:
    """A commit of a project, or, without `commit`, its work tree. `name` is how the user called it."""

    project: Project
    name: str
    commit: str | None
    kept: Kept

    @cached_property
    def stages(self) -> list[Stage]:
        """All stages, as their files define them."""
        found: list[Stage] = []
        for folder in self._folders(STAGES_FILE):
            path = os.path.join(folder, STAGES_FILE)
            body = self.read_git(path, MOST_STAGES)
            found += parse_stages(body, folder, path).values() if body is not None else ()
        return found

    def locks(self) -> Iterator[tuple[str, dict[str, LockedStage]]]:
        """Yield the locks, by folder."""
        for folder in self._folders(LOCK_FILE):
            path = os.path.join(folder, LOCK_FILE)
            body = self.read_git(path, _MOST_LOCK)
            if body is not None:
                yield folder, parse_lock(body, path, folder)

    @cached_property
    def outputs(self) -> dict[str, MadeOutput]:
        """What the locks and pointers say lies where, by path from the root."""
        found = {}
        for folder, stages in self.locks():
            for locked in stages.values():
                found.update({_placed(folder, path): output for path, output in locked.outputs.items()})
        for path in self._files:
            if path.endswith(SUFFIX) and os.path.basename(path) != SUFFIX:
                body = self.read_git(path, 64 << 10)
                if body is not None:
                    pointer = parse_pointer(path, body)
                    kind: Kind = "file" if pointer.is_file else "directory"
                    found[path.removesuffix(SUFFIX)] = MadeOutput(
                        kind, pointer.top.hex(), pointer.entries, pointer.bytes
                    )
        return found

    @cached_property
    def _files(self) -> list[str]:
        if self.commit is None:
            arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        else:
            arguments = ("ls-tree", "-r", "-z", "--name-only", self.commit)
        if self.project.git is None:
            return []
        return [os.fsdecode(path) for path in ask_git(self.project.root, *arguments).split(b"\0") if path]

    def _folders(self, name: str) -> list[str]:
        if self.commit is None and self.project.git is None:
            return stage_folders(self.project)
        return sorted({os.path.dirname(path) for path in self._files if os.path.basename(path) == name})

    def read_git(self, path: str, most: int) -> bytes | None:
        """Return a file of the work tree, or one that git has; None: there is none. IntegrityError: it is too large."""
        if self.commit is None:
            return read_bounded(os.path.join(self.project.root, path), most)
        name = f"{self.commit}:{path}"
        if not git_succeeds(self.project.root, "cat-file", "-e", name):
            return None
        if int(git_line(self.project.root, "cat-file", "-s", name)) > most:
            raise IntegrityError(f"{path!r} of {self.name} has more than {most >> 20} MiB")
        return ask_git(self.project.root, "cat-file", "blob", name)

    def read(self, path: str, most: int = MOST_BYTES) -> bytes | None:
        """Return a small file, wherever it is kept; None: this revision has none."""
        body = self.read_git(path, most)
        if body is not None or self.commit is None:
            return body
        above = path
        while above:
            if (output := self.outputs.get(above)) is not None:
                names = tuple(os.fsencode(path[len(above) + 1 :]).split(b"/"))
                return self.kept.read(output, names, most)
            above = os.path.dirname(above)
        return None

    def document(self, path: str) -> Value:
        """Return what a file of parameters or metrics holds; None where there is none."""
        body = self.read(path)
        return parse_document(body, path) if body is not None else None


class Revisions:
    """Revisions of a project by name. Closed by `close`."""

    def __init__(self, project: Project, settings: Callable[[], Settings]) -> None:
        self._project = project
        self._kept = Kept(project, settings)

    def close(self) -> None:
        """Close what was opened."""
        self._kept.close()

    def work_tree(self) -> ProjectRevision:
        """Return the work tree as it is."""
        return ProjectRevision(self._project, "the work tree", None, self._kept)

    def at(self, name: str) -> ProjectRevision:
        """Return a revision by any name that git knows. NotFoundError: it knows none."""
        return ProjectRevision(
            self._project, name, self._commit("--end-of-options", f"{name}^{{commit}}", told=name), self._kept
        )

    def common(self, name: str, other: str) -> ProjectRevision:
        """Return the newest revision that two have in common, as `name...other` means it."""
        one, two = self.at(name), self.at(other)
        assert one.commit is not None
        assert two.commit is not None
        line = git_line(self._project.root, "merge-base", one.commit, two.commit)
        return ProjectRevision(self._project, name, line, self._kept)

    def _commit(self, *arguments: str, told: str) -> str:
        if self._project.git is None or not git_succeeds(self._project.root, "rev-parse", "-q", "--verify", *arguments):
            raise NotFoundError(f"git knows no revision {told!r}", fix="git log --oneline --all shows what there is.")
        return git_line(self._project.root, "rev-parse", "-q", "--verify", *arguments)


def _placed(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))

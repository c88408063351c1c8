"""The versions of a commit: made before it, or after, and tied to it.

    prepare      before a commit: the versions of what is staged are made, or the commit is refused
    settle       after HEAD has moved, however: its commit is tied to versions, if that can be done without running code
    rewritten    commits that took the place of others
    run          what a commit would do, now; what a commit without hooks has left out

**Invariants.** What is merged, picked or rebased is joined record by record. Only `prepare` and `run` run code.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from penstock.errors import ConflictError, PenstockError
from penstock.project.git import ask_git

from .declared_repository import DeclaredRepository
from .git_texts import GitTexts, ancestor_of, blobs_at, full_commit, parents_of
from .sqlite_database import DATABASE, is_ours
from .ties import TiedFile, TiedVersion, fetch_notes, follow_notes, join_notes, make_tie, write_tie
from .work_state import MergeChoice, Pending

if TYPE_CHECKING:
    from penstock.project.declared.declared_source import DeclaredSource
    from penstock.project.records.building import BuiltVersion
    from penstock.project.records.version_draft import Merging, OpenCode, Workshop
    from penstock.project.records.versions import Version

__all__ = ["CommitVersions", "FileResult", "read_staged"]


@dataclass(slots=True)
class FileResult:
    """What came of making the versions of a file: of each dataset, by its name."""

    file: str
    sources: dict[str, str]
    built: dict[str, BuiltVersion] = field(default_factory=dict)
    remotes: dict[str, str | None] = field(default_factory=dict)

    def tied(self) -> TiedFile:
        """Return what a tie says of it."""
        return TiedFile(
            self.sources,
            {
                name: TiedVersion(each.version.commit.hex(), each.version.id.top_hash.hex(), self.remotes[name])
                for name, each in self.built.items()
            },
        )


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of history that is joined with HEAD's: its commit, and that from which it is taken to begin."""

    commit: str
    ancestor: str | None


class CommitVersions:
    """The versions of commits of a repository."""

    def __init__(self, repository: DeclaredRepository) -> None:
        self._repository = repository
        self._root = repository.root
        self._state = repository.state

    def make(
        self,
        texts: GitTexts,
        base: str | None,
        lines: list[_Line],
        *,
        again: bool = False,
        only_known: bool = False,
    ) -> list[FileResult]:
        """Make the versions of all tracked files, of what a commit has, joined with other lines.

        Errors as `build`; nothing has changed then.
        """
        # What makes versions takes a tenth of a second to load: most moves of HEAD need none of it.
        from penstock.project.records.building import BuiltVersion, build

        before = self._repository.tied_files(base)
        sources = {}
        for file in self._repository.tracked():
            source = read_staged(self._repository, file, texts)
            if source is not None:
                sources[file] = source
        for source in sources.values():
            self._check_free(source)
        results = []
        for file, source in sources.items():
            blobs = {path: texts.blobs[path] for path in source.texts}
            result = FileResult(file, blobs)
            for declaration in source.declarations:
                result.remotes[declaration.name] = declaration.remote
                at = self._base(before.get(file), declaration.name, declaration.was)
                built = BuiltVersion(at) if at is not None else None
                for merging in self._mergings(file, declaration.name, lines) or [None]:
                    shop = self._workshop(file)
                    built = build(shop, source, declaration, at, merging, again=again, only_known=only_known)
                    at = built.version
                assert built is not None
                result.built[declaration.name] = built
            results.append(result)
        return results

    def _base(self, tied: TiedFile | None, name: str, was: str) -> Version | None:
        if tied is None:
            return None
        if name in tied.datasets:
            return self._repository.version(name, tied.datasets[name])
        if was and was in tied.datasets:
            from penstock.project.records.versions import adopt

            return adopt(self._repository.opened().session, self._repository.version(was, tied.datasets[was]), name)
        return None

    def _mergings(self, file: str, name: str, lines: list[_Line]) -> list[Merging | None]:
        from penstock.project.records.version_draft import Merging

        found: list[Merging | None] = []
        choice = self._state.choice
        for line in lines:
            theirs = self._repository.dataset_at(line.commit, file, name)
            if theirs is not None:
                found.append(Merging(self._repository.dataset_at(line.ancestor, file, name), theirs, choice.of))
        return found

    def _workshop(self, file: str) -> Workshop:
        from penstock.project.project_trust import require_trust
        from penstock.project.records.version_draft import Workshop
        from penstock.repo.write.authorship import default_author
        from penstock.repo.write.publish import Authorship

        from .attached_database import database_maker

        opened = self._repository.opened()
        place = os.path.join(self._root, os.path.dirname(file))
        keep = self._repository.setting("errors") == "keep"
        return Workshop(
            opened.session,
            opened.files,
            opened.kept,
            place,
            Authorship(default_author(), "", "commit"),
            self._repository.branch_name(),
            lambda what: require_trust(self._repository.project, what),
            keep,
            self._repository.progress,
            database_maker(opened.files),
            self._open_code(),
        )

    def _open_code(self) -> OpenCode:
        """Return what opens the processes that code runs in, or a cluster, if one is set."""
        executor = self._repository.setting("executor")
        if executor == "processes":
            from penstock.project.records.code_processes import CodeProcesses

            return CodeProcesses
        from penstock.project.records.cluster_code import open_cluster

        return partial(open_cluster, executor.replace("dask://", "tcp://", 1))

    def _check_free(self, source: DeclaredSource) -> None:
        """Raise ConflictError when git tracks something where data is to be, or another database is there."""
        folder = os.path.dirname(source.file)
        names = [each.name for it in source.declarations for each in it.columns if each.type.is_file]
        paths = [os.path.join(folder, name) for name in (*names, DATABASE)]
        listed = ask_git(self._root, "--literal-pathspecs", "ls-files", "-z", "--", *paths).split(b"\0")
        if listed[0]:
            raise ConflictError(
                f"git tracks {os.fsdecode(listed[0])}",
                why=f"{source.file} declares a field whose files are to lie there",
                fix="Rename the field, or take it out of git: git rm --cached",
            )
        if not is_ours(os.path.join(self._root, folder, DATABASE)):
            raise ConflictError(
                f"{os.path.join(folder, DATABASE)} is there already",
                why="it is no database that was made of a dataset",
                fix="Move it away.",
            )

    def prepare(self) -> list[FileResult]:
        """Make the versions of what is staged. Errors as `build`: the commit is refused, and nothing has changed."""
        head = self._repository.head()
        lines = self._lines(head)
        results = self.make(GitTexts(self._root), head, lines)
        files = {each.file: each.tied() for each in results}
        self._state.pending = Pending(head or "", tuple(line.commit for line in lines), files)
        return results

    def _lines(self, head: str | None) -> list[_Line]:
        """Return the lines that are being joined with HEAD's: by a merge, or picked."""
        if head is None:
            return []
        found = [_Line(name, ancestor_of(self._root, head, name)) for name in self._merge_heads()]
        picked = full_commit(self._root, "CHERRY_PICK_HEAD")
        if picked is not None and picked != head:
            found.append(_Line(picked, next(iter(parents_of(self._root, picked)), None)))
        return found

    def _merge_heads(self) -> list[str]:
        # `git merge` has not written MERGE_HEAD when pre-merge-commit runs, but names each head in the environment.
        told = [name.removeprefix("GITHEAD_") for name in os.environ if name.startswith("GITHEAD_")]
        assert self._repository.project.git is not None
        with suppress(FileNotFoundError), open(os.path.join(self._repository.project.git, "MERGE_HEAD")) as stream:
            told += stream.read().split()
        return list(dict.fromkeys(name for name in told if len(name) in (40, 64)))

    def settle(self, head: str) -> bool:
        """Tie a commit to its versions; whether it is. What hinders it is said."""
        if self._take_pending(head):
            return True
        if not self._repository.missing(head):
            return True
        for remote in follow_notes(self._root):  # a remote that is newer than what was said when tracking began
            fetch_notes(self._root, remote)
        if join_notes(self._root) and not self._repository.missing(head):
            return True
        from penstock.project.records.version_draft import NeedsCodeError

        parents = parents_of(self._root, head)
        base = parents[0] if parents else None
        lines = [_Line(each, ancestor_of(self._root, parents[0], each)) for each in parents[1:]]
        picked = full_commit(self._root, "CHERRY_PICK_HEAD")
        if picked is not None and picked != head and not lines:
            lines.append(_Line(picked, next(iter(parents_of(self._root, picked)), None)))
        try:
            self._tie(head, self.make(GitTexts(self._root, head), base, lines, only_known=True))
        except NeedsCodeError:
            self._repository.say(f"{head[:12]} was committed without its data: git datasets run makes it")
            return False
        except PenstockError as error:
            self._repository.say(f"{head[:12]} has no data yet: {error}")
            return False
        return True

    def _take_pending(self, head: str) -> bool:
        pending = self._state.pending
        if pending is None:
            return False
        parents = parents_of(self._root, head)
        own = pending.head or None
        amended = own is not None and parents == parents_of(self._root, own)
        if (parents[:1] != [own] and not (own is None and not parents) and not amended) or head == own:
            return False
        for file, tied in pending.files.items():
            if blobs_at(self._root, head, [file, *tied.sources]) != tied.sources:
                return False
        before = self._repository.tied_files(own)
        if pending.files != before:
            write_tie(self._root, head, make_tie(pending.files))
        self._state.pending = None
        self._state.choice = MergeChoice()
        return True

    def _tie(self, commit: str, results: list[FileResult]) -> None:
        write_tie(self._root, commit, make_tie({each.file: each.tied() for each in results}))
        self._state.choice = MergeChoice()

    def rewritten(self, pairs: list[tuple[str, str]], *, amended: bool) -> None:
        """Tie commits that took the place of others: made of what their parents have.

        One that was `amended` was made of what it was before, which it is not to stand on.
        """
        for _, new in pairs:
            parents = parents_of(self._root, new)
            if len(parents) > 1 or not (amended or self._repository.missing(new)):
                continue
            try:
                results = self.make(GitTexts(self._root, new), next(iter(parents), None), [], only_known=True)
            except PenstockError:
                continue  # what it was tied to while it was made stays
            self._tie(new, results)

    def run(self, *, again: bool = False) -> list[FileResult]:
        """Make the versions of HEAD that are missing; else of what is staged, as a commit would.

        With `again` ingests of HEAD run once more, and HEAD gets what comes of it.
        """
        head = self._repository.head()
        if head is not None and (again or self._repository.missing(head)):
            parents = parents_of(self._root, head)
            base = head if again and not self._repository.missing(head) else next(iter(parents), None)
            lines = (
                [_Line(each, ancestor_of(self._root, parents[0], each)) for each in parents[1:]] if base != head else []
            )
            results = self.make(GitTexts(self._root, head), base, lines, again=again)
            self._tie(head, results)
            return results
        return self.prepare()


def read_staged(repository: DeclaredRepository, file: str, texts: GitTexts) -> DeclaredSource | None:
    """Read a file that declares datasets; None: it is not there. DeclarationError: it says what cannot be."""
    from penstock.project.declared.declared_source import read_source

    text = texts.read(file)
    if text is None:
        return None
    source = read_source(file, text, texts.read)
    for each in source.declarations:
        repository.note_remote(each.remote)
    return source

"""All commits of a DVC project as versions of a dataset: with their parents, authors, times and messages.

A version holds what a commit tracks, each path where it lies in the repository. Branches and tags of git are branches
and tags of the dataset. A commit of git makes the same commit here whoever imports it, whenever: to do it again adds
what is new, and what was cut off goes on where it was. Git's own history is left as it is.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from msgspec import structs

from penstock.errors import ConflictError, PenstockError, UsageError
from penstock.manifest.entry import Kind, TreeEntry, split_path
from penstock.manifest.records import Commit, Manifest, format_time
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import SILENT, Progress
from penstock.project.exchange import chosen_remote, ref_name
from penstock.project.git import ask_git
from penstock.project.local_bucket import open_local
from penstock.project.pointer import Pointer
from penstock.project.project import Project
from penstock.project.project_trust import project_settings
from penstock.project.stored_version import open_version
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.history.branches import make_branch, make_tag, reset_branch
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.checkout import the_file_of
from penstock.repo.tracked.transfer import send_version
from penstock.repo.write.authorship import default_author
from penstock.repo.write.publish import Authorship, copy_commit, stands_at
from penstock.repo.write.version_writer import VersionWriter

from .dvc_project import DvcProject, open_objects
from .dvc_state import CommitTree, DvcState, Tracked, read_state
from .dvc_versions import DvcVersions
from .import_project import taken_version, told_of

__all__ = ["DvcHistory", "import_history"]

_OPERATION = "import-dvc"
_DOCUMENTS = (".dvc", ".yaml", ".yml", ".json", ".toml", ".lock")
_STATES = 64


@dataclass(slots=True)
class DvcHistory:
    """What came of it: how many commits of git are versions, and their names. `failed`: what could not be taken."""

    remote: str
    commits: int = 0
    branches: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _GitCommit:
    name: str
    parents: tuple[str, ...]
    author: str
    seconds: int
    message: str


def import_history(
    project: Project, found: DvcProject, settings: Settings, progress: Progress = SILENT, *, remote: str | None = None
) -> DvcHistory:
    """Make what each commit of a repository tracks a version in a remote. Errors as `chosen_remote`."""
    if project.common is None:
        raise UsageError(f"{project.root} has no commits", why="it is no git repository")
    usable = project_settings(project, settings)
    name = chosen_remote(project, usable, remote)
    report = DvcHistory(name)
    who = Authorship(default_author(), "import of a project of DVC", _OPERATION)
    with (
        open_objects(found, project) as objects,
        closing(DvcVersions(project, settings, objects, progress)) as maker,
        closing(open_local(project, settings)) as source,
        closing(open_session(name, usable, cached=False)) as target,
        VersionWriter(
            target, target.repository(project.file.dataset), LeaseKind.PUSH, who, progress=progress
        ) as writer,
    ):
        writer.hold()
        history = _History(project, source, writer, progress)
        made: dict[str, VersionId] = {}
        for commit in _commits(project):
            parents = [made[each] for each in commit.parents if each in made]
            tree = CommitTree(project.common, commit.name)
            state = history.state(tree)
            parts: dict[str, Pointer] = {}
            for tracked in state.tracked:
                try:
                    read = _git_files(tree, tracked) if tracked.output.in_git else None
                    parts[tracked.output.path] = taken_version(maker, tracked, found, in_git=read)
                except PenstockError as error:
                    report.failed.append(f"{tracked.output.path} of commit {commit.name[:12]}: {error}")
            report.failed += [f"commit {commit.name[:12]}: {each}" for each in history.new_remarks(state)]
            if not parts and not parents:
                continue  # before anything was tracked
            made[commit.name] = history.add(commit, parts, [each.known_commit for each in parents])
        report.commits = len(made)
        report.remarks = told_of(objects)
        _name(project, made, target, who, report)
    report.failed = list(dict.fromkeys(report.failed))
    return report


def _git_files(tree: CommitTree, tracked: Tracked) -> Callable[[str], bytes | None]:
    def read(below: str) -> bytes | None:
        return tree.read(f"{tracked.output.path}/{below}" if below else tracked.output.path)

    return read


class _History:
    """Versions of a remote in the making: what is there already is seen to be there."""

    def __init__(self, project: Project, source: BucketSession, writer: VersionWriter, progress: Progress) -> None:
        self._dataset = project.file.dataset
        self._source = source
        self._writer = writer
        self._reading = progress.stage("reading")
        self._there: dict[bytes, Manifest] = {}
        self._newest: dict[str, Manifest] = {}
        self._states: dict[tuple[tuple[str, str], ...], DvcState] = {}
        self._remarked: set[str] = set()

    def state(self, tree: CommitTree) -> DvcState:
        """Return what a commit says; that of many commits is the same."""
        tree.paths()
        key = tuple(sorted((path, blob) for path, (_, blob) in tree.modes.items() if path.endswith(_DOCUMENTS)))
        if key not in self._states:
            while len(self._states) >= _STATES:
                del self._states[next(iter(self._states))]
            self._states[key] = read_state(tree)
        return self._states[key]

    def new_remarks(self, state: DvcState) -> list[str]:
        """Return what could not be taken, and was not told before."""
        new = [each for each in state.remarks if "is not taken" in each and each not in self._remarked]
        self._remarked.update(new)
        return new

    def add(self, commit: _GitCommit, parts: dict[str, Pointer], parents: list[bytes]) -> VersionId:
        """Make what a commit tracks a version, and the commit one of the dataset."""
        writer = self._writer
        edits = [self._edit(path, pointer) for path, pointer in parts.items()]
        with writer.content(None, enter=False) as content:
            root = update(EMPTY_DIRECTORY, sorted(edits, key=lambda edit: edit.path), writer.session.load, content)
            manifest = content.finish(root)
        record = Commit(
            manifest.top_hash,
            root.entries,
            root.size,
            tuple(dict.fromkeys(parents)),
            commit.author,
            format_time(dt.datetime.fromtimestamp(commit.seconds, dt.UTC)),
            commit.message,
            {"operation": _OPERATION, "git_commit": commit.name},
        )
        return copy_commit(writer.repository, writer.access, manifest, record.encode())

    def _edit(self, path: str, pointer: Pointer) -> Edit:
        names = split_path(path)
        manifest = self._sent(path, pointer)
        if pointer.is_file:
            return Edit(
                names, structs.replace(the_file_of(Tree(manifest.root, self._writer.session.load)), name=names[-1])
            )
        root = manifest.root
        return Edit(names, TreeEntry(names[-1], Kind.DIRECTORY, root.size, root.hash, directory=root))

    def _sent(self, path: str, pointer: Pointer) -> Manifest:
        if pointer.top not in self._there:
            base = self._newest.get(path) if not pointer.is_file else None
            version = open_version(self._source, self._dataset, pointer.top)
            with self._writer.content(base, enter=False) as content:
                self._there[pointer.top] = send_version(version, base, self._writer.session, content, self._reading)
        manifest = self._there[pointer.top]
        if not pointer.is_file:
            self._newest[path] = manifest
        return manifest


def _commits(project: Project) -> Iterator[_GitCommit]:
    """Yield the commits of all branches and tags, parents first."""
    assert project.common is not None
    form = "--format=%H%x00%P%x00%an <%ae>%x00%at%x00%B"
    listed = ask_git(
        project.common,
        "log",
        "-z",
        "--topo-order",
        "--reverse",
        form,
        "--branches",
        "--remotes",
        "--tags",
        patience=600.0,
    )
    fields = listed.removesuffix(b"\0").split(b"\0") if listed else []
    for at in range(0, len(fields) - 4, 5):
        name, parents, author, seconds, message = (each.decode("utf-8", "replace") for each in fields[at : at + 5])
        yield _GitCommit(name, tuple(parents.split()), author[:1000], int(seconds), message.strip()[:16_000])


def _name(
    project: Project, made: dict[str, VersionId], target: BucketSession, who: Authorship, report: DvcHistory
) -> None:
    """Give versions the names that git has for their commits; a branch here goes before one of a remote of git."""
    assert project.common is not None
    form = "--format=%(refname) %(objectname) %(*objectname)"
    listed = ask_git(project.common, "for-each-ref", form, "refs/heads", "refs/remotes", "refs/tags")
    branches: dict[str, VersionId] = {}
    ours = {version.commit for version in made.values()}
    for line in os.fsdecode(listed).splitlines():
        reference, first, *peeled = line.split(" ")
        version = made.get(next(filter(None, peeled), first))
        if version is None:
            continue
        _, kind, name = reference.split("/", 2)
        if kind == "tags":
            _tag(target, project, name, version, who, report)
        elif kind == "heads":
            branches[name] = version
        elif (short := name.partition("/")[2]) != "HEAD":
            branches.setdefault(short, version)
    for name, version in branches.items():
        _stand(target, project, name, version, who, ours, report)


def _tag(
    target: BucketSession, project: Project, name: str, version: VersionId, who: Authorship, report: DvcHistory
) -> None:
    repository = target.repository(project.file.dataset)
    try:
        with VersionWriter(target, repository, LeaseKind.PUSH, who, tag=ref_name(name)) as writer:
            writer.hold(version)
            make_tag(writer, version)
        report.tags.append(ref_name(name))
    except ConflictError as error:
        report.failed.append(f"tag {name}: {error}")


def _stand(
    target: BucketSession,
    project: Project,
    name: str,
    version: VersionId,
    who: Authorship,
    ours: set[bytes | None],
    report: DvcHistory,
) -> None:
    repository = target.repository(project.file.dataset)
    with VersionWriter(target, repository, LeaseKind.PUSH, who, branch=ref_name(name)) as writer:
        writer.check_names()
        writer.hold(version)
        if writer.head is None:
            make_branch(writer, version)
        elif stands_at(writer.head).commit not in ours:
            report.failed.append(f"branch {name}: it has versions in {report.remote} that are not of this history")
            return
        else:
            reset_branch(writer, version)
    report.branches.append(ref_name(name))

"""Another repository's project, read without its history: its penstock.toml, its pointers, the remotes it names.

One commit is fetched into a folder that goes again, with no file of it written anywhere and no program of it run: what
is read are blobs of at most 64 KiB. (A server that gives out none but the newest of branches and tags is asked for all
of its history, large blobs aside, where an older one is needed.) What it names is trusted as far as the user has said
so: a remote that he, or a project that he trusts, has with the same address and options; or, for this address, by
`penstock trust URL`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import unquote

from penstock.errors import AccessError, NotFoundError, UsageError
from penstock.project.git import GitError, ask_git, git_answer, git_line
from penstock.project.pointer import SUFFIX, Pointer, parse_pointer
from penstock.project.project import Project
from penstock.project.project_file import PROJECT_FILE, ProjectFile, parse_project_file
from penstock.project.project_trust import project_settings, read_trust_of, usable_remote
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings

__all__ = ["GitSource", "fetched_commit", "open_source", "source_remotes"]

_MOST_BLOB = 1 << 20
_MOST_PATHS = 64 << 20
_REV = re.compile(r"[A-Za-z0-9_][^\s~^:?*\[\\\x00-\x1f\x7f]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ALLOWED = "file:git:http:https:ssh"


@dataclass(frozen=True, slots=True)
class GitSource:
    """One commit of a repository, fetched. `url` is as it was given, a path made absolute."""

    url: str
    rev: str | None
    commit: str
    file: ProjectFile
    _directory: str

    def paths(self) -> list[str]:
        """Return the paths that it tracks, in order."""
        listed = ask_git(self._directory, "ls-tree", "-r", "-z", "--name-only", self.commit)[:_MOST_PATHS]
        names = [os.fsdecode(name) for name in listed.split(b"\0")]
        return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))

    def pointer(self, path: str) -> tuple[str, Pointer, str]:
        """Return the tracked path that holds a path, its pointer, and what is left of the path below it.

        NotFoundError: nothing there is tracked.
        """
        names = path.strip("/").split("/")
        for depth in range(len(names), 0, -1):
            tracked = "/".join(names[:depth])
            body = _blob(self._directory, self.commit, tracked + SUFFIX)
            if body is not None:
                return tracked, parse_pointer(f"{self.url}: {tracked}{SUFFIX}", body), "/".join(names[depth:])
        raise NotFoundError(
            f"{self.url} tracks no {path!r}",
            why=f"there is no {path}{SUFFIX} in commit {self.commit[:12]}",
            fix=f"penstock list {self.url} shows what it has.",
        )


@contextmanager
def open_source(url: str, rev: str | None = None, *, base: str = ".") -> Iterator[GitSource]:
    """Fetch one commit of a repository with a project in it. Errors as `fetched_commit`; NotFoundError: it has none."""
    with fetched_commit(url, rev, base=base) as (directory, commit, place):
        body = _blob(directory, commit, PROJECT_FILE)
        if body is None:
            raise NotFoundError(f"{url} is not a project", why=f"there is no {PROJECT_FILE} in commit {commit[:12]}")
        yield GitSource(place, rev, commit, parse_project_file(f"{url}: {PROJECT_FILE}", body), directory)


@contextmanager
def fetched_commit(url: str, rev: str | None = None, *, base: str = ".") -> Iterator[tuple[str, str, str]]:
    """Fetch one commit of a repository: of a branch, tag or commit id, by default of its HEAD.

    Gives a git directory that goes again, the commit's id, and the address, a path made absolute. `url` is as git takes
    it; a path is relative to `base`. NotFoundError: there is no such repository, or revision. UsageError: the address
    or the revision is none.
    """
    place = _address(url, base)
    if rev is not None and not _REV.fullmatch(rev):
        raise UsageError(f"{rev!r} is no revision", fix="Name a branch, a tag or a commit.")
    with tempfile.TemporaryDirectory(prefix="penstock-git-") as directory:
        ask_git(directory, "init", "-q", "--bare", "--template=", ".")
        try:
            commit = _fetched(directory, place, rev or "HEAD")
        except GitError as error:
            raise NotFoundError(
                f"{rev or 'HEAD'!r} of {url} cannot be fetched",
                why=error.why,
                fix="Check the address and the revision; git fetch says the same.",
            ) from error
        yield directory, commit, place


def _fetched(directory: str, place: str, wanted: str) -> str:
    """Fetch one commit into a git directory; return its id. GitError: it cannot be had."""
    try:
        _fetch(directory, place, "--depth", "1", wanted=wanted)
    except GitError:
        # Without version 2 of its protocol (plain sshd) a server gives commits that are the newest of something alone.
        if not _COMMIT.fullmatch(wanted):
            raise
        _fetch(directory, place, wanted="+refs/*:refs/from/*")
        found = git_answer(directory, "rev-parse", "--verify", "-q", f"{wanted}^{{commit}}")
        if found is None:
            raise
        return found
    return git_line(directory, "rev-parse", "--verify", "FETCH_HEAD^{commit}")


def _fetch(directory: str, place: str, *options: str, wanted: str) -> None:
    fetch = ("-c", "core.hooksPath=/dev/null", "fetch", "-q", "--no-tags", f"--filter=blob:limit={_MOST_BLOB}")
    environment = {"GIT_ALLOW_PROTOCOL": _ALLOWED}
    ask_git(directory, *fetch, *options, "--", place, wanted, environment=environment, patience=300.0)


def _address(url: str, base: str) -> str:
    if url.startswith("-") or "\0" in url or "\n" in url or "::" in url.partition("/")[0]:
        raise UsageError(f"{url!r} is no address of a repository", fix="Give what git clone takes.")
    if url.startswith("file:///"):
        return os.path.realpath(unquote(url.removeprefix("file://")))
    if "://" in url or (":" in url.partition("/")[0] and not os.path.exists(os.path.join(base, url))):
        return url
    return os.path.realpath(os.path.join(base, url))


def _blob(directory: str, commit: str, path: str) -> bytes | None:
    """Return a file of a commit; None: there is none, or it is no plain file. Nothing is fetched for it."""
    listed = ask_git(directory, "ls-tree", "-l", "-z", commit, "--", path)
    found = re.fullmatch(rb"100(?:644|755) blob ([0-9a-f]{40,64}) +([0-9]+|-)\t.*\0", listed, re.DOTALL)
    if found is None:
        return None
    if found[2] == b"-" or int(found[2]) > _MOST_BLOB:
        raise UsageError(f"{path} is too large to be what its name says", why=f"the most is {_MOST_BLOB} bytes")
    return ask_git(directory, "cat-file", "blob", found[1].decode())


def source_remotes(source: GitSource, settings: Settings, project: Project | None = None) -> Mapping[str, Remote]:
    """Return the remotes of a source that may be asked, under names of their own, the default one first.

    AccessError: it has some, and none may be asked.
    """
    known = project_settings(project, settings) if project is not None else settings
    trust = read_trust_of(source.url)
    names = dict.fromkeys([source.file.remote, *source.file.remotes])
    found: dict[str, Remote] = {}
    for name in names:
        remote = source.file.remotes.get(name or "")
        if remote is None:
            continue
        same = next((each for each in known.remotes.values() if each.settings() == remote.settings()), None)
        usable = same or usable_remote(remote, trust)
        if usable is not None:
            found[f"git-{remote.name}"] = replace(usable, name=f"git-{remote.name}")
    if not found:
        urls = ", ".join(each.url for each in source.file.remotes.values())
        raise AccessError(
            f"the remotes of {source.url} are not used",
            why=f"they are places of this machine that it names ({urls}), and you have not said that you trust it"
            if urls
            else "it names none",
            fix=f"If you want them read: penstock trust {source.url}" if urls else "Its owner adds one: remote add -d",
        )
    return found

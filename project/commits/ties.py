"""Which versions belong to a commit of git: a note of the commit, in ``refs/notes/penstock``.

A note is small, whatever the data, and no part of the commit: it can be made after it, and no file of the user's is
touched. A commit without one has the versions of its first parent, if it has the same sources. Notes of others come
with a fetch to ``refs/penstock/remotes/NAME``, and are joined with those here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from penstock.errors import IntegrityError
from penstock.project.git import GitError, ask_git, git_succeeds

__all__ = [
    "NOTES",
    "REMOTES",
    "Tie",
    "TiedFile",
    "TiedVersion",
    "find_tie",
    "join_notes",
    "make_tie",
    "push_notes",
    "read_tie",
    "tied_commits",
    "write_tie",
]

NOTES = "refs/notes/penstock"
REMOTES = "refs/penstock/remotes/"
_FORMAT = 1
_MOST = 1 << 20
_FIRST_LOOK = 64
_HASH = re.compile(r"[0-9a-f]{64}")
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Penstock",
    "GIT_AUTHOR_EMAIL": "penstock@localhost",
    "GIT_COMMITTER_NAME": "Penstock",
    "GIT_COMMITTER_EMAIL": "penstock@localhost",
}


class TiedVersion(msgspec.Struct, frozen=True):
    """A version: its commit and top hash, in hex. `remote`: the bucket that it goes to, as the declaration says."""

    commit: str
    top_hash: str
    remote: str | None = None


class TiedFile(msgspec.Struct, frozen=True):
    """What a file declared: the blobs that say so, by path, and the version of each of its datasets."""

    sources: dict[str, str]
    datasets: dict[str, TiedVersion]


class Tie(msgspec.Struct, frozen=True):
    """The versions of a commit, by the file that declares them."""

    format: int
    files: dict[str, TiedFile]


def make_tie(files: dict[str, TiedFile]) -> Tie:
    """Return a tie of these."""
    return Tie(_FORMAT, files)


def _decode(body: bytes, commit: str) -> Tie:
    try:
        found = msgspec.json.decode(body[:_MOST], type=Tie)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(
            f"the note of {commit[:12]} in {NOTES} is malformed", why=str(error), fix="git datasets run makes it anew."
        ) from error
    for path, file in found.files.items():
        for name, version in file.datasets.items():
            if not _HASH.fullmatch(version.commit) or not _HASH.fullmatch(version.top_hash):
                raise IntegrityError(f"the note of {commit[:12]} names no version of {name[:80]!r}")
        for each in (path, *file.sources):
            if each.startswith("/") or ".." in each.split("/") or "\0" in each:
                raise IntegrityError(f"the note of {commit[:12]} names {each!r}", why="it is no path of the repository")
    if found.format != _FORMAT:
        raise IntegrityError(f"the note of {commit[:12]} has format {found.format}", fix="Upgrade Penstock.")
    return found


def read_tie(root: str, commit: str) -> Tie | None:
    """Return the tie that a commit has itself."""
    try:
        return _decode(ask_git(root, "notes", f"--ref={NOTES}", "show", commit), commit)
    except GitError:
        return None


def find_tie(root: str, commit: str) -> tuple[Tie, str] | None:
    """Return the nearest tie of a commit and its first parents, and the commit that has it."""
    found = _look(root, commit, _FIRST_LOOK)
    return found if found is not None else _look(root, commit, None)


def _look(root: str, commit: str, most: int | None) -> tuple[Tie, str] | None:
    if not git_succeeds(root, "rev-parse", "--verify", "-q", NOTES):
        return None
    limit = [f"--max-count={most}"] if most is not None else []
    form = "--format=%x01%H%x00%N"
    body = ask_git(root, "log", "--first-parent", "--no-decorate", form, f"--notes={NOTES}", *limit, commit, "--")
    for each in body.split(b"\x01"):
        name, _, note = each.partition(b"\0")
        if note.strip():
            return _decode(note, name.decode()), name.decode()
    return None


def write_tie(root: str, commit: str, tie: Tie) -> None:
    """Give a commit its tie, in place of one that it has."""
    body = msgspec.json.format(msgspec.json.encode(tie), indent=1)
    ask_git(root, "notes", f"--ref={NOTES}", "add", "-f", "-F", "-", commit, given=body, environment=_IDENTITY)


def tied_commits(root: str) -> Iterator[str]:
    """Yield the commits that have a tie."""
    if git_succeeds(root, "rev-parse", "--verify", "-q", NOTES):
        for line in ask_git(root, "notes", f"--ref={NOTES}", "list").split(b"\n"):
            if line:
                yield line.split(b" ")[1].decode()


def join_notes(root: str) -> bool:
    """Take in what was fetched of others' notes; whether there was any. Of one commit, the note that is here stays."""
    joined = False
    for line in ask_git(root, "for-each-ref", "--format=%(objectname) %(refname)", REMOTES).decode().splitlines():
        name, ref = line.split(" ", 1)
        if not git_succeeds(root, "rev-parse", "--verify", "-q", NOTES):
            ask_git(root, "update-ref", NOTES, name)
            joined = True
        elif not git_succeeds(root, "merge-base", "--is-ancestor", name, NOTES):
            ask_git(root, "notes", f"--ref={NOTES}", "merge", "-q", "-s", "ours", ref, environment=_IDENTITY)
            joined = True
    return joined


def follow_notes(root: str) -> list[str]:
    """Have fetches from all remotes bring their notes along; returns the remotes of which none did so before."""
    new = []
    for remote in ask_git(root, "remote").decode().split():
        spec = f"+{NOTES}:{REMOTES}{remote}"
        if not git_succeeds(root, "config", "--fixed-value", "--get", f"remote.{remote}.fetch", spec):
            ask_git(root, "config", "--local", "--add", f"remote.{remote}.fetch", spec)
            new.append(remote)
    return new


def fetch_notes(root: str, remote: str) -> bool:
    """Fetch the notes of a remote; whether it has some."""
    return git_succeeds(root, "fetch", "-q", "--no-tags", remote, f"+{NOTES}:{REMOTES}{remote}")


def push_notes(root: str, remote: str) -> None:
    """Send the notes to a remote of git, joined with those that it has. GitError: it refuses."""
    follow_notes(root)
    there = f"{REMOTES}{remote}" if "/" not in remote and ":" not in remote else f"{REMOTES}anonymous"
    for left in reversed(range(3)):
        if git_succeeds(root, "fetch", "-q", "--no-tags", remote, f"+{NOTES}:{there}"):
            join_notes(root)
        try:
            ask_git(root, "push", "-q", "--no-verify", remote, f"{NOTES}:{NOTES}", patience=600)
        except GitError:
            if not left:
                raise
        else:
            return

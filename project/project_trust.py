"""What a project that somebody else has made may reach and run: nothing, until the user says so.

Trust is kept in the user's own state folder, one file a repository, named by the repository's place and identity; no
clone can bring it along. It is for the repository as a whole (what its stages and datasets as code run) and for each
remote as it stands (name, address and options): one that a later commit changes is asked about anew.

Until then a remote in S3 is asked without credentials, any other (a directory, SSH, Google, Azure) not at all, and none
ever stands in the place of one that the user has named so himself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec
from blake3 import blake3

from penstock.errors import AccessError
from penstock.project.project import Project
from penstock.project.project_file import PROJECT_FILE, read_bounded
from penstock.project.state_folder import STATE_FOLDER, remark_state, replace_file
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.user_folders import make_user_folder, user_folder

__all__ = [
    "ProjectTrust",
    "asked_as_nobody",
    "check_reachable",
    "forget_trust",
    "project_settings",
    "read_trust",
    "read_trust_of",
    "require_trust",
    "trust_project",
    "trust_remote",
    "trust_source",
    "usable_remote",
]

_MOST = 1 << 20
_FIX = "Read what it is; if you want it to: penstock trust (of datasets as code: git datasets trust)"


class _TrustRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    repository: str
    runs: bool
    remotes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProjectTrust:
    """What the user has said: whether the project may run what is in it, and which remotes are known as they stand."""

    runs: bool = False
    remotes: frozenset[str] = frozenset()

    def knows(self, remote: Remote) -> bool:
        """Whether the remote stands as it was trusted."""
        return _identity(remote) in self.remotes


def _identity(remote: Remote) -> str:
    return blake3(msgspec.json.encode([remote.name, remote.settings()], order="sorted")).hexdigest()


def _key(project: Project) -> str:
    """Return what a repository's trust is kept under: its place, and which directory it is."""
    place = project.common or project.root
    facts = os.stat(place)
    return f"{place}\0{facts.st_dev}:{facts.st_ino}"


def _path(key: str) -> str:
    name = blake3(os.fsencode(key)).hexdigest(16)
    return os.path.join(user_folder("state"), "trusted", f"{name}.json")


def read_trust(project: Project) -> ProjectTrust:
    """Return what the user has said of a project: nothing, unless he did."""
    return _read(_key(project))


def read_trust_of(url: str) -> ProjectTrust:
    """Return what the user has said of a repository that is imported from, by its address."""
    return _read(f"url\0{url}")


def _read(key: str) -> ProjectTrust:
    path = _path(key)
    body = read_bounded(path, _MOST)
    if body is None:
        return ProjectTrust()
    try:
        found = msgspec.json.decode(body, type=_TrustRecord)
    except msgspec.MsgspecError as error:
        raise AccessError(f"{path} is damaged", why=str(error), fix="Remove it; then: penstock trust") from error
    if found.format != 1 or found.repository != _shown(key):
        return ProjectTrust()
    return ProjectTrust(found.runs, frozenset(found.remotes))


def _shown(key: str) -> str:
    return key.encode("utf-8", "backslashreplace").decode()


def trust_project(project: Project) -> ProjectTrust:
    """Trust a project: what it runs, and its remotes as they stand. Its state folder is taken as the user's own."""
    if os.path.lexists(os.path.join(project.root, STATE_FOLDER)):
        remark_state(project.root)
    # A repository whose files declare datasets need not be a project otherwise: then there are no remotes of its own.
    has_file = os.path.lexists(os.path.join(project.root, PROJECT_FILE))
    remotes = project.file.remotes.values() if has_file else ()
    known = read_trust(project).remotes | {_identity(each) for each in remotes}
    return _write(_key(project), ProjectTrust(True, known))


def trust_source(url: str, remotes: Iterable[Remote]) -> ProjectTrust:
    """Trust the remotes of a repository that is imported from, as they stand. Nothing of it is run."""
    return _write(f"url\0{url}", ProjectTrust(False, frozenset(map(_identity, remotes))))


def trust_remote(project: Project, remote: Remote) -> ProjectTrust:
    """Trust one remote of a project as it stands: the user has just added it himself."""
    before = read_trust(project)
    return _write(_key(project), replace(before, remotes=before.remotes | {_identity(remote)}))


def _write(key: str, trust: ProjectTrust) -> ProjectTrust:
    path = _path(key)
    record = _TrustRecord(1, _shown(key), trust.runs, tuple(sorted(trust.remotes)))
    try:
        make_user_folder("state", "trusted")
        replace_file(path, msgspec.json.encode(record), 0o600)
    except OSError as error:
        raise AccessError(f"{path} cannot be written", why=error.strerror or str(error)) from error
    return trust


def forget_trust(project: Project) -> None:
    """Take back all that was said of a project."""
    path = _path(_key(project))
    if os.path.lexists(path):
        os.unlink(path)


def require_trust(project: Project, what: str) -> None:
    """Raise AccessError unless the project may run what is in it; `what` says what was to be run."""
    if not read_trust(project).runs:
        raise AccessError(
            f"{what} is not run",
            why=f"you have not said that you trust {project.root}, which others may have made",
            fix=_FIX,
        )


def project_settings(project: Project, settings: Settings) -> Settings:
    """Return the user's settings with those remotes of the project that may be used, as they may be."""
    trust = read_trust(project)
    found = {name: usable_remote(remote, trust) for name, remote in project.file.remotes.items()}
    usable = {name: each for name, each in found.items() if each is not None}
    return replace(settings, remotes={**usable, **settings.remotes})


def usable_remote(remote: Remote, trust: ProjectTrust) -> Remote | None:
    """Return a remote as it may be used; None: not at all."""
    if trust.knows(remote):
        return remote
    if not remote.url.startswith("s3://"):
        return None
    return replace(
        remote, anonymous=True, profile=None, request_payer=False, unsafe=False, sse=None, sse_kms_key_id=None
    )


@contextmanager
def asked_as_nobody(project: Project, settings: Settings) -> Iterator[None]:
    """Say, where a remote refuses what is asked in the block, that it was asked without credentials, if it was."""
    try:
        yield
    except AccessError as error:
        trust = read_trust(project)
        if all(trust.knows(each) for name, each in project.file.remotes.items() if name not in settings.remotes):
            raise
        why = f"{error.why}; it was asked without your credentials, for you have not said that you trust the project"
        raise AccessError(error.what, why=why, fix=_FIX) from error


def check_reachable(project: Project, settings: Settings, name: str) -> None:
    """Raise AccessError when a remote of the project is not among the settings because nobody has trusted it."""
    if name in project.file.remotes and name not in settings.remotes:
        raise AccessError(
            f"remote {name!r} is not used",
            why=f"{project.file.remotes[name].url} is a place that is reached as you, which the project names, and you "
            "have not said that you trust it",
            fix=_FIX,
        )

"""What a project that somebody else has made may reach and run: nothing, until the user says so.

Trust is kept in the user's own state folder, one file a repository, named by the repository's place and identity; no
clone can bring it along. It is for the repository as a whole (what its stages and datasets as code run) and for each
remote as it stands (name, address and options): one that a later commit changes is asked about anew.

Until then a remote in a bucket is asked without credentials, one in a directory of this machine not at all, and none
ever stands in the place of one that the user has named so himself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import msgspec
from blake3 import blake3

from penstock.errors import AccessError
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.user_folders import make_user_folder, user_folder

from .project import Project
from .project_file import read_bounded
from .state_folder import STATE_FOLDER, remark_state, replace_file

__all__ = ["ProjectTrust", "project_settings", "read_trust", "require_trust", "trust_project", "trust_remote"]

_MOST = 1 << 20
_FIX = "Read what it is; if you want it to: penstock trust"


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


def _repository(project: Project) -> str:
    return project.common or project.root


def _path(project: Project) -> str:
    place = _repository(project)
    facts = os.stat(place)
    name = blake3(os.fsencode(place) + f"\0{facts.st_dev}:{facts.st_ino}".encode()).hexdigest(16)
    return os.path.join(user_folder("state"), "trusted", f"{name}.json")


def read_trust(project: Project) -> ProjectTrust:
    """Return what the user has said of a project: nothing, unless he did."""
    path = _path(project)
    body = read_bounded(path, _MOST)
    if body is None:
        return ProjectTrust()
    try:
        found = msgspec.json.decode(body, type=_TrustRecord)
    except msgspec.MsgspecError as error:
        raise AccessError(
            f"{path} is damaged", why=str(error), fix="Remove it, and say again: penstock trust"
        ) from error
    if found.format != 1 or found.repository != _repository(project):
        return ProjectTrust()
    return ProjectTrust(found.runs, frozenset(found.remotes))


def trust_project(project: Project) -> ProjectTrust:
    """Trust a project: what it runs, and its remotes as they stand. Its state folder is taken as the user's own."""
    if os.path.lexists(os.path.join(project.root, STATE_FOLDER)):
        remark_state(project.root)
    known = read_trust(project).remotes | {_identity(each) for each in project.file.remotes.values()}
    return _write(project, ProjectTrust(True, known))


def trust_remote(project: Project, remote: Remote) -> ProjectTrust:
    """Trust one remote of a project as it stands: the user has just added it himself."""
    before = read_trust(project)
    return _write(project, replace(before, remotes=before.remotes | {_identity(remote)}))


def _write(project: Project, trust: ProjectTrust) -> ProjectTrust:
    path = _path(project)
    record = _TrustRecord(1, _repository(project), trust.runs, tuple(sorted(trust.remotes)))
    try:
        make_user_folder("state", "trusted")
        replace_file(path, msgspec.json.encode(record), 0o600)
    except OSError as error:
        raise AccessError(f"{path} cannot be written", why=error.strerror or str(error)) from error
    return trust


def forget_trust(project: Project) -> None:
    """Take back all that was said of a project."""
    path = _path(project)
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
    found = {name: _usable(remote, trust) for name, remote in project.file.remotes.items()}
    usable = {name: each for name, each in found.items() if each is not None}
    return replace(settings, remotes={**usable, **settings.remotes})


def _usable(remote: Remote, trust: ProjectTrust) -> Remote | None:
    if trust.knows(remote):
        return remote
    if not remote.url.startswith("s3://"):
        return None
    return replace(
        remote, anonymous=True, profile=None, request_payer=False, unsafe=False, sse=None, sse_kms_key_id=None
    )


def check_reachable(project: Project, settings: Settings, name: str) -> None:
    """Raise AccessError when a remote of the project is not among the settings because nobody has trusted it."""
    if name in project.file.remotes and name not in settings.remotes:
        raise AccessError(
            f"remote {name!r} is not used",
            why=f"{project.file.remotes[name].url} is a place of this machine that the project names, and you have not "
            "said that you trust it",
            fix=_FIX,
        )

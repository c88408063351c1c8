"""The remotes of a project: in ``penstock.toml``, for everybody who clones it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.errors import ConflictError, NotFoundError
from penstock.project.project import Project
from penstock.project.project_file import edit_project_file
from penstock.project.project_trust import trust_remote
from penstock.repo.settings.config_file import did_you_mean
from penstock.repo.settings.remote import Remote, absolute_address
from penstock.repo.settings.settings import Settings

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

__all__ = ["add_project_remote", "remove_project_remote", "set_default_remote"]


def add_project_remote(
    project: Project, name: str, url: str, settings: Settings, *, default: bool, replace: bool = False, **options: Any
) -> Remote:
    """Add a remote to a project, and trust it, for the user has named it himself; with `default`, push goes there.

    `options` are those of `Remote`. ConflictError: it has another of that name, or the user himself has.
    """
    remote = Remote(name=name, url=absolute_address(url), **options)
    present = project.file.remotes.get(name)
    if present is not None and present != remote and not replace:
        raise ConflictError(
            f"the project has a remote {name!r} already",
            why=f"it is {present.url}",
            fix="Choose another name, or replace it with --force",
        )
    own = settings.remotes.get(name)
    if own is not None and own != remote:
        raise ConflictError(
            f"you have a remote {name!r} of your own",
            why=f"it is {own.url}, and would be used in place of the project's",
            fix="Choose another name.",
        )

    def change(document: TOMLDocument) -> None:
        import tomlkit

        if default:
            document["remote"] = name
        if "remotes" not in document:
            document["remotes"] = tomlkit.table(is_super_table=True)
        document["remotes"][name] = remote.settings()

    edit_project_file(project.root, change)
    trust_remote(project, remote)
    return remote


def set_default_remote(project: Project, name: str, settings: Settings) -> None:
    """Let push and pull go to a remote of the project, or of the user's. NotFoundError: there is none such."""
    known = {*project.file.remotes, *settings.remotes}
    if name not in known:
        raise NotFoundError(
            f"there is no remote {name!r}",
            why=f"there are {', '.join(sorted(known)) or 'none'}",
            fix=did_you_mean(name, known) or "penstock remote add -d NAME URL adds one.",
        )

    def change(document: TOMLDocument) -> None:
        document["remote"] = name

    edit_project_file(project.root, change)


def remove_project_remote(project: Project, name: str) -> Remote:
    """Take a remote out of a project. NotFoundError: it has none of that name."""
    remote = project.file.remotes.get(name)
    if remote is None:
        raise NotFoundError(f"the project has no remote {name!r}", fix="penstock remote list shows those there are.")

    def change(document: TOMLDocument) -> None:
        del document["remotes"][name]
        if document.get("remote") == name:
            del document["remote"]

    edit_project_file(project.root, change)
    return remote

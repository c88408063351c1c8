"""A project of DVC, found and opened: its folder, its configuration, its contents.

Its remotes are read with the user's credentials, and directories of this machine at all, when he says that he trusts
it; without that, buckets are asked without credentials. A cache that was moved out of the project is such a directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from penstock.errors import NotFoundError, PenstockError
from penstock.project.git import ask_git
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.project_trust import ProjectTrust, usable_remote
from penstock.project.sources.git_source import fetched_commit
from penstock.repo.settings.remote import Remote
from penstock.store.opening import open_store

from .dvc_config import DvcConfig, parse_config
from .dvc_files import DvcOrigin
from .dvc_objects import DvcObjects, NamedStore

__all__ = ["DvcProject", "find_dvc_project", "open_objects", "source_stores"]

_MOST = 1 << 20
_FOLDER = ".dvc"


@dataclass(frozen=True, slots=True)
class DvcProject:
    """Where it is (the folder that has ``.dvc/``), and what its configuration says. `trusted`: by the user."""

    directory: str
    config: DvcConfig
    trusted: bool

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of its configuration is not used, and why."""
        found = list(self.config.remarks)
        for name, remote in self.config.data.items():
            if not self.trusted and not remote.url.startswith("s3://"):
                found.append(f"remote {name}: {remote.url} is a place of this machine, and not read without --trust")
        if self.config.cache is not None and not self._cache_is_read:
            found.append(f"the cache in {self.config.cache} is not read without --trust")
        return tuple(found)

    @property
    def _cache_is_read(self) -> bool:
        cache = self.config.cache
        return cache is not None and (self.trusted or os.path.realpath(cache).startswith(f"{self.directory}/"))

    def caches(self) -> list[str]:
        """Return the directories that may have contents."""
        default = os.path.join(self.directory, _FOLDER, "cache")
        cache = self.config.cache
        return [cache, default] if cache is not None and self._cache_is_read else [default]

    def remotes(self) -> Iterator[tuple[str, Remote]]:
        """Yield DVC's remotes as they may be read, the default one first."""
        for name in sorted(self.config.data, key=lambda each: each != self.config.default):
            remote = self.config.data[name]
            usable = remote if self.trusted else usable_remote(remote, ProjectTrust())
            if usable is not None:
                yield name, usable


def find_dvc_project(directory: str, *, trusted: bool) -> DvcProject:
    """Return the DVC project that holds a directory. NotFoundError: there is none."""
    at = os.path.realpath(directory)
    while not os.path.isdir(os.path.join(at, _FOLDER)):
        above = os.path.dirname(at)
        if above == at:
            raise NotFoundError(
                f"{directory!r} is in no project of DVC",
                why="neither it nor any folder above it has a folder .dvc",
                fix="Name the folder of the project: penstock import-dvc DIRECTORY",
            )
        at = above
    folder = os.path.join(at, _FOLDER)
    files = [(folder, read_bounded(os.path.join(folder, name), _MOST) or b"") for name in ("config", "config.local")]
    return DvcProject(at, parse_config(files), trusted)


@contextmanager
def open_objects(found: DvcProject, project: Project) -> Iterator[DvcObjects]:
    """Open what has the contents of a DVC project, until the block ends."""
    opened: list[NamedStore] = []

    def stores() -> Sequence[NamedStore]:
        for name, remote in found.remotes():
            opened.append((f"remote {name}", open_store(remote.url, remote.store_options())))
        return opened

    try:
        with DvcObjects(found.caches(), stores, os.path.join(project.state, "dvc")) as objects:
            yield objects
    finally:
        for _, store in opened:
            store.close()


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """What git itself has of what was imported."""

    directory: str
    commit: str
    path: str

    def read(self, below: str) -> bytes | None:
        """Return a file below what was imported; None: git does not have it."""
        return _blob(self.directory, self.commit, f"{self.path}/{below}" if below else self.path)


@contextmanager
def source_stores(origin: DvcOrigin, found: DvcProject) -> Iterator[tuple[list[NamedStore], SourceFiles]]:
    """Open what has the data of another repository that was imported from: its remotes, and its commit's own files.

    Errors as `fetched_commit`.
    """
    with fetched_commit(origin.url, origin.commit or origin.rev, base=found.directory) as (directory, commit, place):
        body = _blob(directory, commit, f"{_FOLDER}/config")
        there = os.path.join(place, _FOLDER) if "://" not in place else "/nowhere"
        config = parse_config([(there, body)]) if body is not None else DvcConfig()
        source = DvcProject(place, config, found.trusted)
        opened = [
            (f"remote {name} of {origin.url}", open_store(remote.url, remote.store_options()))
            for name, remote in source.remotes()
        ]
        try:
            yield opened, SourceFiles(directory, commit, origin.path)
        finally:
            for _, store in opened:
                store.close()


def _blob(directory: str, commit: str, path: str) -> bytes | None:
    try:
        return ask_git(directory, "cat-file", "blob", f"{commit}:{path}")
    except PenstockError:
        return None

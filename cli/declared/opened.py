"""The repository that a command of `git datasets` is about: the one that holds the working directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.cli.invocation import Invocation

if TYPE_CHECKING:
    from penstock.project.commits.declared_repository import DeclaredRepository

__all__ = ["opened_repository", "path_in"]


@contextmanager
def opened_repository(invocation: Invocation) -> Iterator[DeclaredRepository]:
    """Open it. NotFoundError: there is none."""
    from penstock.project.commits.declared_repository import open_repository

    with (
        invocation.progress() as progress,
        open_repository(".", invocation.settings(), invocation.output.notice, progress) as repository,
    ):
        yield repository


def path_in(repository: DeclaredRepository, path: str) -> str:
    """Return a path of the command line as of the repository's root. UsageError: it lies outside."""
    return repository.project.path_of(os.path.normpath(path))

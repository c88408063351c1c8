"""A dataset begins: a branch with one version, which is empty, and what is said of it. Blocking."""

from __future__ import annotations

import datetime as dt

from penstock.errors import ConflictError
from penstock.manifest.records import DatasetInfo, format_time
from penstock.repo.refs.refs import write_id
from penstock.repo.refs.repository import VersionId
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["create_dataset"]


def create_dataset(writer: VersionWriter, title: str, description: str) -> VersionId:
    """Make the writer's dataset with one version, which is empty; what is said of it has passed `check_text`.

    ConflictError: the branch has a version already.
    """
    writer.check_names()
    repository = writer.repository
    if writer.head is not None:
        raise ConflictError(
            f"dataset {repository.dataset!r} in {repository.store.url} exists already",
            fix="Choose another name, or push to it.",
        )
    manifest = writer.empty()
    # Before the branch, so that it can be done again should this be interrupted in between.
    info = DatasetInfo(title, description, writer.authorship.author, format_time(dt.datetime.now(dt.UTC)), write_id())
    repository.refs.set_info(writer.access, lambda _: info)
    return writer.publish(manifest).published

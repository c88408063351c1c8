"""Files that a user adds; and how they are sent to a server: in pieces, each gone on with where it ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.catalogue.datasets.given_files import GivenFile
from penstock.errors import ConflictError, NotFoundError, UnreadableError, UsageError
from penstock.manifest.entry import Kind
from penstock.progress import Progress, Stage
from penstock.repo.push.directory_walk import LocalFile, Skipped, walk_directory

from .server_connection import ServerConnection

__all__ = ["AddedFiles", "AddedKind", "files_below", "send_file"]

AddedKind = Literal["video", "image", "file", "image_group", "dicom_series", "folder"]

_PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class AddedFiles:
    """Files that become rows of a kind, in one version. `title` is of a group, `folder` where they are to be."""

    kind: AddedKind
    files: Sequence[GivenFile]
    title: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        if not self.files:
            raise UsageError("no file is named", fix="Name at least one.")


def files_below(directory: str | os.PathLike[str]) -> dict[str, str]:
    """Return the files below a directory, as a push would take them, by their paths in it. NotFoundError, UsageError.

    Symlinks are left out: what they lead to may lie anywhere.
    """
    skipped: list[Skipped] = []
    steps = walk_directory(os.fspath(directory), skipped.append)
    files = (each for each in steps if isinstance(each, LocalFile) and each.kind is Kind.FILE)
    return {os.fsdecode(b"/".join(each.names)): os.fsdecode(each.path) for each in files}


def send_file(connection: ServerConnection, dataset: str, path: str, name: str, progress: Progress) -> str:
    """Send a file, and return the name of its upload. ConflictError: it changed while it was sent.

    It is read once for its SHA-256, by which the server holds what arrived against what was sent.
    """
    try:
        size = os.stat(path).st_size
        digest = _digest(path, progress.stage("hashing", total=size))
        uploading = progress.stage("uploading", total=size)
        with open(path, "rb") as stream:
            begun = {"name": name, "size": size, "sha256": digest}
            told = connection.ask("POST", f"/api/datasets/{dataset}/uploads", begun, again=True)
            at = int(told["received"])
            uploading.advance(at)
            while at < size:
                stream.seek(at)
                piece = stream.read(min(_PIECE, size - at))
                if not piece:
                    raise ConflictError(f"{path!r} became shorter while it was sent", fix="Send it again.")
                told_next = connection.ask("PUT", f"/api/uploads/{told['upload']}", query={"offset": at}, raw=piece)
                now = int(told_next["received"])
                uploading.advance(max(0, now - at))
                at = now
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path!r}", fix="Name a file that is there.") from error
    except OSError as error:
        raise UnreadableError(f"{path!r} cannot be read", why=str(error), candidates=[path]) from error
    return str(told["upload"])


def _digest(path: str, stage: Stage) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while part := stream.read(_PIECE):
            digest.update(part)
            stage.advance(len(part))
    return digest.hexdigest()

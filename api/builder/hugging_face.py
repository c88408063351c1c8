"""Data sets of Hugging Face as versions: files, the card as the data set's metadata, rows as that of files."""

from __future__ import annotations

import os
import posixpath
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from penstock.api.handles import Handle
from penstock.api.settings import Settings
from penstock.errors import AccessError, NotFoundError, UsageError
from penstock.progress import SILENT, Progress
from penstock.repo.hugging_face.card import read_card, read_info
from penstock.repo.hugging_face.hub_directory import find_directory, walk_files
from penstock.repo.hugging_face.metadata_rows import METADATA_FILES, file_rows

from .builder import PackageBuilder

__all__ = ["HuggingFaceImport", "import_hf"]

_NAMED = 5


@dataclass(frozen=True, slots=True)
class HuggingFaceImport:
    """What was imported: `described` files have metadata from rows; `has_card`: the data set's comes from its card."""

    handle: str
    top_hash: str
    commit: str
    files: int
    described: int
    has_card: bool
    bytes_sent: int
    risk: str


def import_hf(
    source: str | os.PathLike[str],
    name: str | Handle,
    *,
    tag: str | None = None,
    message: str = "",
    author: str | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> HuggingFaceImport:
    """Make a data set of Hugging Face the next version of ``bucket/dataset[:branch]``.

    `source` is a directory: a clone of a data set's repository, its folder in the hub's cache or a snapshot there, what
    ``save_to_disk`` wrote, an `ImageFolder` or its like; or a URL that fsspec knows, such as
    ``hf://datasets/org/name@revision`` with ``huggingface_hub``, which is downloaded first. The head of
    ``README.md`` becomes ``huggingface.card`` of the version's metadata; what a ``metadata.csv``, ``.jsonl`` or
    ``.parquet`` says of a file becomes that file's, several rows of one file a list ``rows``. Files stay as they are.

    UsageError: a metadata file or the card is malformed, or names files that are not there; a link leads elsewhere.
    IntegrityError: a file is a pointer of Git LFS. NotFoundError: no such source. Nothing is pushed then.

    >>> import penstock
    >>> done = penstock.import_hf("photos", "demo/imported")
    >>> done.files, done.described, done.has_card
    (3, 0, False)
    """
    with ExitStack() as stack:
        path = os.fspath(source)
        origin: dict[str, Any] = {}
        if "://" in path:
            origin["source"] = path
            path = _download(path, stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-")))
        builder = stack.enter_context(PackageBuilder(name, settings))
        found = find_directory(path)
        if found.repository is not None:
            origin |= {"source": f"hf://datasets/{found.repository}"}
        if found.commit is not None:
            origin["commit"] = found.commit
        files, tables = 0, []
        for key, real in walk_files(found):
            builder.set(key, real)
            files += 1
            if posixpath.basename(key) in METADATA_FILES:
                tables.append((key, real))
        if not files:
            raise UsageError(f"there is no file in {os.fspath(source)!r}", fix="Name a data set's directory.")
        described = _describe(builder, tables)
        if "README.md" in builder:
            origin["card"] = read_card(os.path.join(found.path, "README.md"))
        if "dataset_info.json" in builder:
            origin["dataset_info"] = read_info(os.path.join(found.path, "dataset_info.json"))
        told = {key: value for key, value in origin.items() if value}
        if told:
            builder.set_meta("", {"huggingface": told})
        builder.build_manifest(progress=progress).push_data(progress=progress)
        package = builder.push_manifest(
            tag,
            message=message or "imported from Hugging Face",
            author=author,
            allow_missing_readme=True,
            progress=progress,
        )
        sent = builder.sent
        return HuggingFaceImport(
            handle=builder.version_name,
            top_hash=package.top_hash,
            commit=package.commit or "",
            files=files,
            described=described,
            has_card="card" in told,
            bytes_sent=sent.bytes if sent is not None else 0,
            risk=builder.risk,
        )


def _describe(builder: PackageBuilder, tables: list[tuple[str, str]]) -> int:
    described, missing = 0, []
    for table, path in tables:
        for key, row in file_rows(table, path):
            if key not in builder:
                missing.append(key)
                if len(missing) > _NAMED:
                    break
                continue
            before = builder.get_metadata(key)
            described += not before
            rows = before.get("rows", [before]) if before else []
            builder.set_meta(key, {"rows": [*rows, row]} if rows else row)
        if missing:
            raise UsageError(
                f"{table!r} names files that are not there",
                why=", ".join(missing[:_NAMED]) + (" and more" if len(missing) > _NAMED else ""),
                fix="Add them, or take their rows out.",
            )
    return described


def _download(url: str, folder: str) -> str:
    try:
        import fsspec  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UsageError(
            f"{url!r} cannot be read", why="that takes fsspec", fix="pip install 'penstock[hf]'"
        ) from error
    try:
        files, path = fsspec.url_to_fs(url)
        if not files.isdir(path):
            raise NotFoundError(f"no directory {url!r}", fix="Name a data set's repository or directory.")
        where = os.path.join(folder, "data")
        files.get(path.rstrip("/") + "/", where + "/", recursive=True)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{url!r} cannot be read", why=str(error), fix="For hf://, pip install huggingface_hub."
        ) from error
    except OSError as error:
        raise AccessError(
            f"{url!r} cannot be read", why=str(error), fix="Check the address, and your token."
        ) from error
    return where

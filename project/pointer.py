"""A pointer: the small file in git that stands for data which is not in it. ``NAME.penstock`` stands for ``NAME``.

    format = 1
    kind = "directory"                  # or "file": a version that holds the one file
    top = "6f…"                         # top hash of the version
    entries = 8294
    bytes = 61373522

    [import]                            # of what came from another project
    url = "https://…"
    path = "raw/01"
    rev = "main"                        # what was asked for; update goes on with it
    commit = "…"                        # what that was then

    [dvc]                               # of what was taken over from DVC, as long as it is the same
    md5 = "….dir"                       # and url, path, rev, commit: where DVC had imported it from

    [meta]                              # whatever people want to say of it; kept as it is
    desc = "…"

Read strictly, and bounded: it comes from whoever has made the repository. Written whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from typing import Any

from penstock.errors import AccessError, ConflictError, NotFoundError, UsageError
from penstock.project.project_file import check_format, read_bounded
from penstock.project.state_folder import replace_file

__all__ = [
    "SUFFIX",
    "DvcRecord",
    "ImportedFrom",
    "Pointer",
    "parse_pointer",
    "pointer_path",
    "read_pointer",
    "write_pointer",
]

SUFFIX = ".penstock"
FORMAT = 1
_MOST = 64 << 10
_HASH = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_COUNT_LIMIT = 1 << 62
_KEYS = frozenset({"format", "kind", "top", "entries", "bytes", "import", "dvc", "meta"})
_DVC_KEYS = frozenset({"md5", "url", "path", "rev", "commit"})
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_IMPORT_KEYS = frozenset({"url", "path", "rev", "commit"})
_KINDS = ("directory", "file")


@dataclass(frozen=True, slots=True)
class ImportedFrom:
    """Where it was imported from: a repository, the path there, what was asked for, and the commit that this was."""

    url: str
    path: str
    rev: str | None
    commit: str


@dataclass(frozen=True, slots=True)
class DvcRecord:
    """What DVC knew it by; and where DVC had imported it from, empty where it had not."""

    md5: str
    url: str = ""
    path: str = ""
    rev: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which version is meant. `top`: its top hash as 32 bytes. `entries` and `bytes` are as the version counts them.

    `meta`: what people say of it, as JSON of a table; empty: nothing.
    """

    kind: str
    top: bytes
    entries: int
    bytes: int
    imported: ImportedFrom | None = None
    dvc: DvcRecord | None = None
    meta: str = ""

    def moved(self, before: Pointer | None) -> Pointer:
        """Return this pointer in the place of the one before it: what was said of that is said of this one."""
        if before is None:
            return self
        dvc = before.dvc if before.top == self.top else None
        return replace(
            self, imported=self.imported or before.imported, dvc=self.dvc or dvc, meta=self.meta or before.meta
        )

    @property
    def is_file(self) -> bool:
        """Whether it stands for one file, and not for a directory."""
        return self.kind == "file"


def pointer_path(path: str) -> str:
    """Return the path of the pointer file of a path."""
    return path.rstrip("/") + SUFFIX


def read_pointer(path: str) -> Pointer:
    """Read a pointer file.

    NotFoundError: there is none. ConflictError: git has left a merge conflict in it. UsageError: it is no pointer.
    """
    body = read_bounded(path, _MOST)
    if body is None:
        raise NotFoundError(f"there is no {path}", fix=f"penstock add {path.removesuffix(SUFFIX)} makes it.")
    return parse_pointer(path, body)


def parse_pointer(path: str, body: bytes) -> Pointer:
    """Return what `body` says; `path` is for messages. Errors as `read_pointer`."""
    if len(body) > _MOST:
        raise UsageError(f"{path} has more than {_MOST} bytes", why="no pointer is that large", fix="Mend it.")
    if body.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in body:
        raise ConflictError(
            f"{path} has a merge conflict in it",
            why="two branches say different things of it",
            fix="penstock merge-pointer joins both; or take one side: git checkout --ours, --theirs",
        )
    try:
        document = tomllib.loads(body.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(path, str(error)) from error
    check_format(path, document, FORMAT)
    for key in sorted(document.keys() - _KEYS):
        raise _malformed(path, f"there is no {key[:80]!r} in a pointer")
    kind, top = document.get("kind"), document.get("top")
    if kind not in _KINDS:
        raise _malformed(path, f"its kind is {str(kind)[:80]!r}")
    if not isinstance(top, str) or not _HASH.fullmatch(top):
        raise _malformed(path, "its top is no hash of 64 lower-case digits")
    return Pointer(
        kind,
        bytes.fromhex(top),
        _count(path, document, "entries"),
        _count(path, document, "bytes"),
        _imported(path, document["import"]) if "import" in document else None,
        _dvc(path, document["dvc"]) if "dvc" in document else None,
        _meta(path, document["meta"]) if "meta" in document else "",
    )


def _count(path: str, document: dict[str, Any], key: str) -> int:
    found = document.get(key)
    if type(found) is not int or not 0 <= found < _COUNT_LIMIT:
        raise _malformed(path, f"its {key} are {str(found)[:80]!r}")
    return found


def _imported(path: str, table: object) -> ImportedFrom:
    if not isinstance(table, dict) or table.keys() - _IMPORT_KEYS:
        raise _malformed(path, "its [import] has url, path, rev and commit")
    for key in ("url", "path", "commit"):
        if not isinstance(table.get(key), str) or "\0" in table[key]:
            raise _malformed(path, f"its import has no {key}")
    if not isinstance(table.get("rev", ""), str) or not _COMMIT.fullmatch(table["commit"]):
        raise _malformed(path, "its import has no commit")
    return ImportedFrom(table["url"], table["path"], table.get("rev"), table["commit"])


def _dvc(path: str, table: object) -> DvcRecord:
    if (
        not isinstance(table, dict)
        or table.keys() - _DVC_KEYS
        or not all(isinstance(each, str) for each in table.values())
    ):
        raise _malformed(path, "its [dvc] has md5, url, path, rev and commit")
    if not _MD5.fullmatch(table.get("md5", "")):
        raise _malformed(path, "its [dvc] has no md5")
    return DvcRecord(**table)


def _meta(path: str, table: object) -> str:
    if not isinstance(table, dict):
        raise _malformed(path, "its [meta] is no table")
    try:
        return json.dumps(table, sort_keys=True, ensure_ascii=False, allow_nan=False) if table else ""
    except (TypeError, ValueError, RecursionError) as error:
        raise _malformed(path, "its [meta] has texts, numbers, lists and tables") from error


def _malformed(path: str, why: str) -> UsageError:
    return UsageError(f"{path} is no pointer", why=why, fix="Put it back as git has it, or add the data anew.")


def pointer_text(pointer: Pointer) -> str:
    """Return what a pointer file says."""
    lines = [
        f"format = {FORMAT}",
        f'kind = "{pointer.kind}"',
        f'top = "{pointer.top.hex()}"',
        f"entries = {pointer.entries}",
        f"bytes = {pointer.bytes}",
    ]
    if (source := pointer.imported) is not None:
        lines += ["", "[import]", f"url = {_quoted(source.url)}", f"path = {_quoted(source.path)}"]
        lines += [f"rev = {_quoted(source.rev)}"] if source.rev is not None else []
        lines += [f'commit = "{source.commit}"']
    if pointer.dvc is not None:
        fields = {key: getattr(pointer.dvc, key) for key in ("md5", "url", "path", "rev", "commit")}
        lines += ["", "[dvc]", *(f"{key} = {_quoted(value)}" for key, value in fields.items() if value)]
    if pointer.meta:
        import tomlkit  # few pointers say anything of it

        lines += ["", tomlkit.dumps({"meta": json.loads(pointer.meta)}).rstrip("\n")]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Write a text as TOML: a basic string is JSON's, but for DEL."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r} cannot be written down", why="it is not UTF-8", fix="Rename it.") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_pointer(path: str, pointer: Pointer) -> bool:
    """Write a pointer file, whole or not at all; whether it says anything new. AccessError: it cannot be."""
    body = pointer_text(pointer).encode()
    try:
        if os.path.lexists(path) and not os.path.islink(path) and read_bounded(path, _MOST) == body:
            return False
        replace_file(path, body)
    except OSError as error:
        raise AccessError(f"{path} cannot be written", why=error.strerror or str(error)) from error
    return True

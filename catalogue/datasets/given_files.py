"""Files that are to become rows: looked into, read in bounds, and given keys that nothing has."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from penstock.api.builder.builder import PackageBuilder
from penstock.api.packages.entry import Entry
from penstock.catalogue.orm.dataset import DataType
from penstock.catalogue.rows.probe import HEADER_BUDGET, Prober
from penstock.catalogue.rows.probe_messages import Facts, Unknown
from penstock.errors import NotFoundError, UnreadableError
from penstock.manifest.entry import BLOCK_SIZE

__all__ = ["GivenFile", "clean_name", "fetcher", "free_key", "group_title", "look_into"]
__all__ += ["probed_file", "top_paths"]

_MOST_BLOCKS = HEADER_BUDGET // BLOCK_SIZE
_NO_PATH = re.compile(r"[/\x00-\x1f\x7f]+")


class GivenFile(msgspec.Struct, frozen=True):
    """A file of this disk that is to be a row. `title`: by default its name; `name`: by default that of the path.

    `key`: where it is to be in the version, of files that keep their places.
    """

    path: str
    title: str = ""
    client_metadata: dict[str, Any] = {}
    name: str = ""
    key: str = ""

    @property
    def named(self) -> str:
        """What it is called in the version, if nothing else is."""
        return self.name or os.path.basename(self.path)


def clean_name(name: str) -> str:
    """Return a name without what no part of a path may have."""
    return _NO_PATH.sub("-", name)


def fetcher(entry: Entry, exact: bool) -> Callable[[int, int], bytes]:
    """Return what gives bytes of an entry by offset and length, out of two blocks of 1 MiB, or all if `exact`.

    Blocks are what is fetched, however little of one is asked for. Beyond those two the file seems to end.
    """
    held: set[int] = set()

    def fetch(offset: int, length: int) -> bytes:
        parts = bytearray()
        while length > 0:
            block, begin = divmod(offset, BLOCK_SIZE)
            if block not in held and len(held) == _MOST_BLOCKS and not exact:
                break
            held.add(block)
            part = b"".join(entry.some_blocks(block, 1))[begin : begin + length]
            if not part:
                break
            parts += part
            offset, length = offset + len(part), length - len(part)
        return bytes(parts)

    return fetch


def look_into(prober: Prober, path: str, *, exact: bool = False) -> Facts | Unknown:
    """Return what a file of this disk is. UnreadableError: it cannot be read. NotFoundError: it is not there."""
    try:
        with open(path, "rb") as stream:

            def fetch(offset: int, length: int) -> bytes:
                stream.seek(offset)
                return stream.read(length)

            return prober.probe(os.fstat(stream.fileno()).st_size, fetch, exact=exact)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path!r}", fix="Name a file that is there.") from error
    except OSError as error:
        raise UnreadableError(f"{path!r} cannot be read", candidates=[f"{path}: {error.strerror}"]) from error


def probed_file(prober: Prober, path: str, kinds: set[DataType], *, exact: bool = False) -> Facts:
    """Return what a file of this disk is. UnreadableError: nothing of these kinds. NotFoundError: it is not there."""
    facts = look_into(prober, path, exact=exact)
    if isinstance(facts, Unknown) or DataType(facts.kind) not in kinds:
        wanted = " or ".join(sorted(each.value for each in kinds))
        why = facts.why if isinstance(facts, Unknown) else f"it is of the kind {facts.kind}"
        raise UnreadableError(f"{path!r} is no {wanted}", candidates=[f"{path}: {why}"], why=why)
    return facts


def free_key(builder: PackageBuilder, folder: str, name: str, taken: set[str] | None = None) -> str:
    """Return a key for a new file that nothing has; `taken` are others that are not free, which it joins."""
    others = taken if taken is not None else set()
    clean = clean_name(name).strip() or "file"
    stem, dot, suffix = clean.rpartition(".") if "." in clean.strip(".") else (clean, "", "")
    above = f"{folder.strip('/')}/" if folder.strip("/") else ""
    key, number = f"{above}{clean}", 2
    while key in builder or key in others:
        key = f"{above}{stem}-{number}{dot}{suffix}"
        number += 1
    others.add(key)
    return key


def group_title(title: str, size: tuple[int | None, int | None], groups: int) -> str:
    """Return the title of one of several groups that were asked for as one, of this resolution."""
    base = title or "image-group"
    return base if groups == 1 and title else f"{base}-{size[0]}x{size[1]}"


def top_paths(paths: Iterator[str]) -> list[str]:
    """Return paths without those that lie below another of them."""
    tops: list[str] = []
    for path in sorted(paths, key=lambda path: path.split("/")):
        if not tops or not path.startswith(tops[-1] + "/"):
            tops.append(path)
    return tops

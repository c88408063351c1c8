"""What is in a directory, as a page shows it: a page of entries by their names, each with what is drawn for it.

**Invariant:** a page costs what a page costs: it begins behind a name, and nothing is counted or skipped for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from penstock.api.packages.entry import Entry
from penstock.catalogue.page.content.file_kinds import FileKind, has_thumbnail, kind_of_file
from penstock.catalogue.page.content.shown_text import counted, read_key, sized

from .place import Place

__all__ = ["PAGE", "Crumb", "Tile", "Tiles", "crumbs_of", "sample_tiles", "staged_marks", "tile_of", "tiles_of"]

PAGE = 60
_MARKS = {"delete": "to be deleted", "move": "to be moved", "metadata": "metadata staged", "upload": "to be replaced"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One entry. `picture` is the address of what is drawn, empty: a sign for its `kind`."""

    key: str
    name: str
    kind: FileKind | str
    url: str
    picture: str
    detail: str


@dataclass(frozen=True, slots=True)
class Tiles:
    """A page of a directory; `more` is the address of the next one, empty: this is the last."""

    tiles: tuple[Tile, ...]
    more: str


@dataclass(frozen=True, slots=True)
class Crumb:
    """One directory on the way to where one is."""

    name: str
    url: str


def tile_of(place: Place, entry: Entry) -> Tile:
    """Return what is shown of an entry."""
    name, key = entry.name, entry.key
    if entry.is_directory():
        detail = f"{counted(entry.entries, 'entry', 'entries')}, {sized(entry.size)}"
        return Tile(key, name, "directory", place.url(key=key), "", detail)
    kind = kind_of_file(name) if entry.is_file() else "symlink"
    picture = ""
    if kind == "svg":
        picture = place.exact_url("raw", key)
    elif entry.is_file() and has_thumbnail(name):
        picture = place.exact_url("picture", key)
    return Tile(key, name, kind, place.url("entry", key=key), picture, sized(entry.size))


def tiles_of(place: Place, entries: Iterable[Entry], view: str) -> Tiles:
    """Return a page of what is in a directory; `entries` begin where it does, and may go on behind it."""
    found = list(islice(entries, PAGE + 1))
    shown = found[:PAGE]
    more = ""
    if len(found) > PAGE:
        more = place.url("tiles", at=place.exact, key=place.key, after=shown[-1].name, view=view, shown=place.at)
    return Tiles(tuple(tile_of(place, each) for each in shown), more)


def sample_tiles(place: Place, files: Iterable[Entry]) -> Tiles:
    """Return a page of files from anywhere; each says where it is."""
    tiles = (tile_of(place, each) for each in islice(files, PAGE))
    return Tiles(tuple(replace(each, detail=each.key.rpartition("/")[0] or each.detail) for each in tiles), "")


def staged_marks(place: Place) -> dict[str, str]:
    """Return what the visitor has staged, the last of each key, as it is shown at entries."""
    found = place.pages.staging.find(place.visitor.caller.name, place.hash) if place.can_write else None
    return {read_key(step.key): _MARKS[step.kind] for step in found.steps} if found is not None else {}


def crumbs_of(place: Place) -> list[Crumb]:
    """Return the way from the top of a version to a key."""
    names = [name for name in place.key.split("/") if name]
    return [Crumb(name, place.url(key="/".join(names[: number + 1]))) for number, name in enumerate(names)]

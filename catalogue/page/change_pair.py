"""One change as a page shows it: what was, beside what is; of images as pictures, with the labels that changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.api.packages.comparison import PathChange
from penstock.api.packages.entry import Entry
from penstock.api.packages.package import Package
from penstock.catalogue.page.content.file_kinds import kind_of_file
from penstock.catalogue.page.content.image_labels import Shape, changed_shapes, shapes_of_metadata
from penstock.catalogue.page.content.pictures import Picture
from penstock.catalogue.page.content.shown_text import sized, url_of

from .place import Place

__all__ = ["ChangePair", "ChangeSide", "FieldChange", "pair_of"]

_MOST_FIELDS = 40
_MOST_VALUE = 200


@dataclass(frozen=True, slots=True)
class ChangeSide:
    """One side. `changed` are the shapes that the other side does not have. Without a `picture` there is a sign."""

    url: str
    picture: str
    detail: str
    size: Picture | None = None
    shapes: tuple[Shape, ...] = ()
    changed: frozenset[Shape] = frozenset()


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of the metadata; empty: it was not, or is no more."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ChangePair:
    """What was and what is, of one path."""

    change: PathChange
    kind: str
    old: ChangeSide | None
    new: ChangeSide | None
    fields: tuple[FieldChange, ...]


def pair_of(place: Place, before: Package | None, change: PathChange) -> ChangePair:
    """Return what is shown of a change; `before` is the version on its old side."""
    name = change.path.rpartition("/")[2]
    is_directory = change.kind == "directory"
    kind = "directory" if is_directory else change.kind if change.kind == "symlink" else kind_of_file(name)
    old_entry = before.find(change.old_path or change.path) if before is not None and change.old_hash else None
    new_entry = place.package.find(change.path) if change.new_hash else None
    old_meta = old_entry.metadata if old_entry is not None else {}
    new_meta = new_entry.metadata if new_entry is not None else {}
    gone, came = changed_shapes(shapes_of_metadata(old_meta), shapes_of_metadata(new_meta))
    old_ref = (before.commit or before.top_hash) if before is not None else ""
    return ChangePair(
        change,
        str(kind),
        _side(place, old_ref, old_entry, str(kind), old_meta, gone) if old_entry is not None else None,
        _side(place, place.exact, new_entry, str(kind), new_meta, came) if new_entry is not None else None,
        _fields(old_meta, new_meta),
    )


def _side(
    place: Place, ref: str, entry: Entry, kind: str, metadata: Mapping[str, Any], changed: frozenset[Shape]
) -> ChangeSide:
    url = place.url("entry", at=ref, key=entry.key)
    path = f"/dataset/{place.hash}"
    if kind == "svg":
        return ChangeSide(url, url_of(f"{path}/raw", at=ref, path=entry.key), sized(entry.size))
    if kind != "image":
        return ChangeSide(url, "", sized(entry.size))
    shapes = tuple(shapes_of_metadata(metadata))
    size = place.pages.pictures.of(entry, 320) if shapes else None
    return ChangeSide(url, url_of(f"{path}/picture", at=ref, path=entry.key), sized(entry.size), size, shapes, changed)


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    names = sorted({*old, *new})
    changed = [name for name in names if old.get(name) != new.get(name) or (name in old) != (name in new)]
    return tuple(
        FieldChange(name, _text(old[name]) if name in old else "", _text(new[name]) if name in new else "")
        for name in changed[:_MOST_FIELDS]
    )


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_VALUE else text[:_MOST_VALUE] + "…"

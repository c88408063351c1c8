"""What a version is made of, in numbers: kinds of files, their bytes, the resolutions of what has pixels.

A small version is gone through; of a large one, some runs of entries are looked at that chance has chosen, and the page
says so. Resolutions are those of rows, as the metadata has them; without any, the heads of some images are looked at.
"""

from __future__ import annotations

from collections import Counter

from penstock.api.packages.entry import Entry
from penstock.catalogue.page.content.file_kinds import kind_of_file
from penstock.catalogue.page.content.shown_numbers import KindNumbers, Numbers, Resolution
from penstock.catalogue.rows.row_metadata import stored_row

from .place import Place

__all__ = ["numbers_of"]

_RUNS, _RUN = 40, 50
_HEADS = 48


def numbers_of(place: Place) -> Numbers:
    """Return the numbers of a version; what they are of never changes, so they are kept by its name."""
    known = place.pages.numbers.get(place.exact)
    if known is not None:
        return known
    made = _count(place)
    place.pages.numbers.put(place.exact, made)
    return made


def _count(place: Place) -> Numbers:
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    resolutions: Counter[tuple[int, int]] = Counter()
    images: list[Entry] = []
    looked = 0
    for entry in place.package.some(_RUNS, run=_RUN):
        looked += 1
        found = _resolution(entry)
        if found is not None:
            resolutions[found] += 1
        if not entry.is_file():
            continue
        kind = kind_of_file(entry.name)
        files[kind] += 1
        sizes[kind] += entry.size
        if kind == "image":
            images.append(entry)
    if not resolutions:
        resolutions.update(_looked_at(place, images[:: -(-len(images) // _HEADS) or 1]))
    return Numbers(
        tuple(KindNumbers(kind, count, sizes[kind]) for kind, count in files.most_common()),
        tuple(Resolution(*size, count) for size, count in resolutions.most_common(200)),
        looked,
        looked == len(place.package),
    )


def _resolution(entry: Entry) -> tuple[int, int] | None:
    metadata = entry.metadata
    row = stored_row(metadata)
    if row is not None:
        return (row.width, row.height) if row.width and row.height else None
    part = metadata.get("image")  # of a group
    if not isinstance(part, dict):
        return None
    width, height = part.get("width"), part.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    return None


def _looked_at(place: Place, images: list[Entry]) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for entry in images:
        start = bytes(next(entry.some_blocks(0, 1), b"")) if entry.size else b""
        head, _ = place.pages.pool.ask({"task": "dimensions"}, start)
        if "note" not in head:
            found[int(head["width"]), int(head["height"])] += 1
    return found

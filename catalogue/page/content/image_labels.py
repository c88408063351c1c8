"""Labels of an image, to be drawn over it: boxes, polygons, masks, as COCO writes them. Pure.

They stand in an entry's metadata (``annotations``, ``labels`` or ``boxes``), in a JSON file of the same name beside the
image, or in one COCO document for its whole directory. Whatever is not as it should be is left out: a viewer shows what
there is. Numbers come out as numbers and nothing else, so that no label can be anything but a shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["DOCUMENTS", "Shape", "changed_shapes", "shapes_of_document", "shapes_of_metadata"]

DOCUMENTS = ("_annotations.coco.json", "annotations.json", "instances.json")
"""Files of a directory that may say what is on the images in it."""

_FIELDS = ("annotations", "labels", "boxes")
_MOST_SHAPES = 500
_MOST_POINTS = 2000
_MOST_RUNS = 20_000
_MOST_LABEL = 80


@dataclass(frozen=True, slots=True)
class Shape:
    """One label. `path` is SVG's, in pixels of the image; `x` and `y` are where its name stands."""

    label: str
    path: str
    x: float
    y: float
    hue: int
    is_mask: bool = False


def shapes_of_metadata(metadata: Mapping[str, Any]) -> list[Shape]:
    """Return the labels in an entry's metadata."""
    names = _categories(metadata.get("categories"))
    shapes: list[Shape] = []
    for field in _FIELDS:
        found = metadata.get(field)
        if isinstance(found, Sequence) and not isinstance(found, str):
            shapes += _shapes(found, names)
    return shapes[:_MOST_SHAPES]


def shapes_of_document(document: object, name: str) -> list[Shape]:
    """Return what a document says of the image `name`: its labels alone, or those of many images, as COCO has it."""
    if isinstance(document, Sequence) and not isinstance(document, str):
        return list(_shapes(document, {}))[:_MOST_SHAPES]
    if not isinstance(document, Mapping):
        return []
    images = document.get("images")
    if not isinstance(images, Sequence) or isinstance(images, str):
        return shapes_of_metadata(document)
    ids = {
        str(image.get("id"))
        for image in images
        if isinstance(image, Mapping) and str(image.get("file_name", "")).rpartition("/")[2] == name
    }
    every = document.get("annotations")
    if not ids or not isinstance(every, Sequence):
        return []
    own = [each for each in every if isinstance(each, Mapping) and str(each.get("image_id")) in ids]
    return list(_shapes(own, _categories(document.get("categories"))))[:_MOST_SHAPES]


def changed_shapes(old: Sequence[Shape], new: Sequence[Shape]) -> tuple[frozenset[Shape], frozenset[Shape]]:
    """Return which labels only the old side has, and which only the new one."""
    return frozenset(old) - frozenset(new), frozenset(new) - frozenset(old)


def _categories(found: object) -> Mapping[str, str]:
    if not isinstance(found, Sequence) or isinstance(found, str):
        return {}
    return {str(each.get("id")): str(each.get("name", "")) for each in found if isinstance(each, Mapping)}


def _shapes(found: Sequence[Any], names: Mapping[str, str]) -> Iterator[Shape]:
    for each in found[:_MOST_SHAPES]:
        if not isinstance(each, Mapping):
            continue
        label = _label(each, names)
        hue = sum(ord(letter) * (place + 1) for place, letter in enumerate(label)) * 47 % 360
        mask = _mask(each.get("segmentation"))
        drawn = mask or _polygons(each.get("segmentation")) or _box(each)
        if drawn is not None:
            path, x, y = drawn
            yield Shape(label, path, x, y, hue, mask is not None)


def _label(each: Mapping[str, Any], names: Mapping[str, str]) -> str:
    for field in ("label", "category", "name", "class"):
        found = each.get(field)
        if isinstance(found, str) and found:
            return found[:_MOST_LABEL]
    number = str(each.get("category_id", ""))
    return names.get(number, number)[:_MOST_LABEL]


def _numbers(found: object, most: int) -> list[float] | None:
    if not isinstance(found, Sequence) or isinstance(found, str) or not 0 < len(found) <= most:
        return None
    numbers = [float(each) for each in found if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) != len(found) or not all(math.isfinite(each) and abs(each) < 1e7 for each in numbers):
        return None
    return numbers


def _box(each: Mapping[str, Any]) -> tuple[str, float, float] | None:
    numbers = _numbers(each.get("bbox", each.get("box")), 4)
    if numbers is None or len(numbers) != 4:
        return None
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        return None
    return f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z", x, y


def _polygons(found: object) -> tuple[str, float, float] | None:
    if not isinstance(found, Sequence) or isinstance(found, str):
        return None
    parts: list[str] = []
    corners: list[tuple[float, float]] = []
    for each in found[:100]:
        numbers = _numbers(each, 2 * _MOST_POINTS)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2:
            continue
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        corners.append(min(points, key=lambda point: (point[1], point[0])))
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "z")
    if not parts:
        return None
    x, y = min(corners, key=lambda point: (point[1], point[0]))
    return "".join(parts), x, y


def _mask(found: object) -> tuple[str, float, float] | None:
    """Return a mask in COCO's runs, which go down the columns, beginning with what is not in it."""
    if not isinstance(found, Mapping):
        return None
    runs = found.get("counts")
    size, counts = _numbers(found.get("size"), 2), _numbers(_runs(runs) if isinstance(runs, str) else runs, _MOST_RUNS)
    if size is None or counts is None or len(size) != 2 or min(counts) < 0:
        return None
    height, width = int(size[0]), int(size[1])
    if height <= 0 or width <= 0 or sum(counts) > height * width:
        return None
    place = 0
    parts: list[str] = []
    corner: tuple[int, int] | None = None
    for number, count in enumerate(map(int, counts)):
        end = place + count
        while number % 2 and place < end and len(parts) < _MOST_RUNS:
            x, y = divmod(place, height)
            length = min(end - place, height - y)
            parts.append(f"M{x} {y}h1v{length}h-1z")
            corner = min(corner or (y, x), (y, x))
            place += length
        place = end
    if corner is None:
        return None
    return "".join(parts), float(corner[1]), float(corner[0])


def _runs(text: str) -> list[int] | None:
    """Return the runs that a text stands for, as COCO packs them; None: it is none.

    Five bits a letter, the lowest first, with one that says that more follow; from the third run on, what a run has
    more than the one two before it. The last letter of a negative number has its uppermost bit set.
    """
    runs: list[int] = []
    number = shift = 0
    for letter in text[: 8 * _MOST_RUNS]:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return runs if not shift else None

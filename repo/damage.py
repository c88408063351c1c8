"""What `verify` finds wrong: an object, what is wrong with it, and the paths that this affects."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from penstock.manifest.entry import Entry, Extent, External

__all__ = ["SHOWN_PATHS", "Damage", "DamageKind", "Damages", "ObjectName"]

SHOWN_PATHS = 20

ObjectName = bytes | External
"""A data object by its hash, or an object that lies elsewhere."""


class DamageKind(enum.StrEnum):
    """What is wrong with an object."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    CHANGED = "changed"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class Damage:
    """One damaged object. `affected` counts paths, of which `paths` holds the first; of a node, what lies below too."""

    address: str
    kind: DamageKind
    why: str
    affected: int = 0
    paths: list[str] = field(default_factory=list)
    repaired: bool = False

    def affects(self, path: str, count: int = 1) -> None:
        """Note a path, which stands for so many entries."""
        self.affected += count
        if len(self.paths) < SHOWN_PATHS:
            self.paths.append(path)


class Damages:
    """The damaged objects with file content, by name, and where in them the damage is."""

    def __init__(self) -> None:
        self.objects: dict[ObjectName, Damage] = {}
        self._ranges: dict[ObjectName, list[tuple[int, int]]] = {}

    def whole(self, name: ObjectName, damage: Damage) -> None:
        """Note an object that nothing can be said of but that it is damaged."""
        self.objects[name] = damage

    def part(self, name: ObjectName, address: str, why: str, offset: int, length: int) -> None:
        """Note damaged bytes of an object."""
        self.objects.setdefault(name, Damage(address, DamageKind.CORRUPT, why))
        self._ranges.setdefault(name, []).append((offset, length))

    def is_whole(self, name: ObjectName) -> bool:
        """Whether all of an object is known to be damaged, so that reading it tells nothing more."""
        return name in self.objects and name not in self._ranges

    def hits(self, extent: Extent) -> bool:
        """Whether some of an extent's bytes are damaged."""
        if extent.object not in self.objects:
            return False
        ranges = self._ranges.get(extent.object)
        end = extent.offset + extent.length
        return ranges is None or any(offset < end and extent.offset < offset + length for offset, length in ranges)

    def affects(self, path: str, entry: Entry) -> None:
        """Note the path of an entry in each damage that hits it."""
        for name in {extent.object for extent in entry.extents if self.hits(extent)}:
            self.objects[name].affects(path)

"""What `verify` finds wrong: an object, what is wrong with it, and the paths that this affects."""

from __future__ import annotations

import enum
from bisect import bisect_left
from dataclasses import dataclass, field

from penstock.errors import AccessError
from penstock.manifest.entry import Extent, External, TreeEntry

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
    REFUSED = "refused"
    """The store will not give it out: it may be whole."""


@dataclass(slots=True)
class Damage:
    """One damaged object. `affected` counts paths, of which `paths` holds the first; of a node, what lies below too."""

    address: str
    kind: DamageKind
    why: str
    affected: int = 0
    paths: list[str] = field(default_factory=list)
    repaired: bool = False
    fix: str = ""


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
        self._ranges.setdefault(name, []).append((offset, offset + length))

    def refused(self, name: ObjectName, address: str, error: AccessError) -> None:
        """Note an object that the store does not give out."""
        self.objects[name] = Damage(address, DamageKind.REFUSED, error.reason, fix=error.fix)
        self._ranges.pop(name, None)

    def is_whole(self, name: ObjectName) -> bool:
        """Whether all of an object is known to be damaged, so that reading it tells nothing more."""
        return name in self.objects and name not in self._ranges

    def is_mendable(self, name: ObjectName) -> bool:
        """Whether an object is damaged, and not only refused."""
        return name in self.objects and self.objects[name].kind is not DamageKind.REFUSED

    def settle(self) -> None:
        """Put the damaged ranges in order, joined: nothing is noted any more, and `hits` is asked from now on."""
        for name, ranges in self._ranges.items():
            joined: list[tuple[int, int]] = []
            for start, end in sorted(ranges):
                if joined and start <= joined[-1][1]:
                    joined[-1] = joined[-1][0], max(joined[-1][1], end)
                else:
                    joined.append((start, end))
            self._ranges[name] = joined

    def hits(self, extent: Extent) -> bool:
        """Whether some of an extent's bytes are damaged."""
        if extent.object not in self.objects:
            return False
        ranges = self._ranges.get(extent.object)
        if ranges is None:
            return True
        # The last range that begins before the extent's end: those before it end before it begins.
        at = bisect_left(ranges, (extent.offset + extent.length,)) - 1
        return at >= 0 and extent.offset < ranges[at][1]

    def of(self, entry: TreeEntry) -> list[Damage]:
        """Return what is damaged of a file."""
        return [self.objects[name] for name in {extent.object for extent in entry.extents if self.hits(extent)}]

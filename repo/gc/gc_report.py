"""What `gc` found and did, as values."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["GcReport", "ObjectTally"]


@dataclass(slots=True)
class ObjectTally:
    """Objects, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def add(self, objects: int, size: int) -> None:
        """Add to both."""
        self.objects += objects
        self.bytes += size


@dataclass(slots=True)
class GcReport:
    """What was found and done. `versions` are those that something leads to; `stopped` says why not all was deleted.

    `garbage` is all of it, `due` what of it may go by now. The first of the rest is due in `due_in` seconds, if any was
    noted. `let_go` has, by dataset, top hash and time of the versions among it that the dataset's policy lets go, the
    oldest first, whose commits stay. `noncurrent` are versions that the bucket keeps of what was deleted or written
    anew, None where it keeps none or nobody may look; `old` those of them that are garbage. `refused` are versions
    that the store would not delete, of which `refusals` names some.
    """

    datasets: int = 0
    versions: int = 0
    needed: ObjectTally = field(default_factory=ObjectTally)
    grace: ObjectTally = field(default_factory=ObjectTally)
    garbage: ObjectTally = field(default_factory=ObjectTally)
    due: ObjectTally = field(default_factory=ObjectTally)
    due_in: float | None = None
    deleted: ObjectTally = field(default_factory=ObjectTally)
    garbage_versions: int = 0
    let_go: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    keeps_versions: bool = False
    noncurrent: ObjectTally | None = None
    old: ObjectTally = field(default_factory=ObjectTally)
    old_deleted: ObjectTally = field(default_factory=ObjectTally)
    refused: ObjectTally = field(default_factory=ObjectTally)
    refusals: list[str] = field(default_factory=list)
    stopped: str = ""

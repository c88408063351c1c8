"""Which ranges of shared objects belong to which dataset, as far as that was found out. `datasets/reach` fills it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .database import Database

__all__ = ["GrantTable", "NodeGrant", "Span"]

Span = tuple[int, int]
"""From a byte on, up to another that is not in it."""


@dataclass(frozen=True, slots=True)
class NodeGrant:
    """A node of a dataset: where it lies, and the reference by which it is loaded."""

    object: str
    start: int
    stop: int
    ref: bytes


class GrantTable:
    """The grants of a server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def spans(self, dataset: str, key: str, start: int, stop: int) -> list[Span]:
        """Return the ranges of a dataset that have something in common with one, in order."""
        wanted = (dataset, key, start, stop)
        rows = self._database.read(
            "SELECT start, stop FROM grant_range WHERE dataset = ? AND object = ? AND stop > ? AND start < ? "
            "UNION SELECT start, stop FROM grant_node WHERE dataset = ? AND object = ? AND stop > ? AND start < ? "
            "ORDER BY 1",
            (*wanted, *wanted),
        )
        return [(row[0], row[1]) for row in rows]

    def closed(self, dataset: str, most: int, key: str | None = None, start: int = 0, stop: int = 0) -> list[NodeGrant]:
        """Return nodes that nobody has looked into, of all objects or within a range of one."""
        where, values = "", list[object]([dataset])
        if key is not None:
            where, values = "AND object = ? AND stop > ? AND start < ?", [dataset, key, start, stop]
        rows = self._database.read(
            f"SELECT object, start, stop, ref FROM grant_node WHERE dataset = ? {where} AND NOT is_open LIMIT ?",  # noqa: S608  # no value
            (*values, most),
        )
        return [NodeGrant(*row) for row in rows]

    def knows_version(self, dataset: str, top_hash: bytes) -> bool:
        """Whether a version was noted."""
        statement = "SELECT 1 FROM grant_version WHERE dataset = ? AND top_hash = ?"
        return bool(self._database.read(statement, (dataset, top_hash)))

    def add(
        self,
        dataset: str,
        nodes: Sequence[NodeGrant],
        ranges: Iterable[tuple[str, int, int]],
        opened: Iterable[NodeGrant],
        *,
        version: bytes | None = None,
    ) -> None:
        """Note nodes and ranges, and that others were looked into, or a version."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO grant_node VALUES (?, ?, ?, ?, ?, 0)",
                [(dataset, each.object, each.start, each.stop, each.ref) for each in nodes],
            )
            connection.executemany(
                "INSERT INTO grant_range VALUES (?, ?, ?, ?) "
                "ON CONFLICT (dataset, object, start) DO UPDATE SET stop = max(stop, excluded.stop)",
                [(dataset, *each) for each in ranges],
            )
            connection.executemany(
                "UPDATE grant_node SET is_open = 1 WHERE dataset = ? AND object = ? AND start = ?",
                [(dataset, each.object, each.start) for each in opened],
            )
            if version is not None:
                connection.execute("INSERT OR IGNORE INTO grant_version VALUES (?, ?)", (dataset, version))

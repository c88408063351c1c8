"""What differs within files that were changed: rows of tables, lines of text, pictures. One half of `Comparison`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from penstock.errors import UsageError
from penstock.manifest.entry import TreeEntry, display_path
from penstock.repo.history.comparison import Difference

if TYPE_CHECKING:
    from penstock.repo.similarity.picture_page import PageRow
    from penstock.repo.similarity.picture_processes import PictureProcesses
    from penstock.repo.tables.row_differences import RowDifferences

__all__ = ["ChangedTable", "ContentDifferences", "OpenFile", "TextChange"]

OpenFile = Callable[[tuple[bytes, ...], TreeEntry], BinaryIO]
"""Opens a file of one side, by its path and entry."""
_MOST_TEXT = 8 << 20
_MOST_PICTURE = 64 << 20
_MOST_PICTURES = 1000
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ChangedTable:
    """A table that was changed, and its rows that were."""

    path: str
    rows: RowDifferences


@dataclass(frozen=True, slots=True)
class TextChange:
    """A file of text that was changed: lines as a unified diff has them, with their marks in front."""

    path: str
    lines: Sequence[str]


class ContentDifferences(ABC):
    """What a `Comparison` tells of the contents of files that are on both sides, and differ."""

    __slots__ = ()

    _files: tuple[OpenFile, OpenFile] | None

    @abstractmethod
    def _differences(self) -> Iterator[Difference]: ...

    def _modified(self) -> Iterator[tuple[Difference, TreeEntry, TreeEntry]]:
        for each in self._differences():
            old, new = each.old, each.new
            if each.kind != "M" or old is None or new is None or not (old.is_file and new.is_file):
                continue
            if (old.size, old.hash) != (new.size, new.hash):
                yield each, old, new

    def _opened(self, side: int, each: Difference, entry: TreeEntry) -> BinaryIO:
        assert self._files is not None
        return self._files[side](each.path, entry)

    def table_changes(self, key: Sequence[str] = (), *, most: int = 100) -> Iterator[ChangedTable]:
        r"""Yield the tables that were changed (CSV, TSV, JSON lines, Parquet) and their rows, `most` of each kind.

        Rows are known by the columns of `key`; without one, they are added and removed as wholes, in any order. Memory
        does not grow with the tables. Needs ``penstock[parquet]``.

        UsageError: a table does not parse, has no such column, or one key twice; the extra is not installed.

        >>> import pathlib, penstock
        >>> _ = pathlib.Path("photos/labels.csv").write_text("name,label\n1,cat\n2,dog\n")
        >>> _ = penstock.Dataset("demo/photos").push("photos")
        >>> old = penstock.open("demo/photos")
        >>> _ = pathlib.Path("photos/labels.csv").write_text("name,label\n1,cat\n2,fox\n3,owl\n")
        >>> for change in old.diff("photos").table_changes(["name"]):
        ...     print(change.path, change.rows.changed, change.rows.added, change.rows.rows[0].after)
        labels.csv 1 1 {'name': '2', 'label': 'fox'}
        """
        from penstock.repo.tables.row_differences import differing_rows
        from penstock.repo.tables.table_source import is_table, open_table

        for each, old, new in self._modified():
            path = display_path(each.path)
            if is_table(path):
                before, after = (
                    open_table(path, partial(self._opened, side, each, entry)) for side, entry in enumerate((old, new))
                )
                yield ChangedTable(path, differing_rows(before, after, key, most=most))

    def text_changes(self) -> Iterator[TextChange]:
        """Yield the files of text that were changed, of up to 8 MiB without a NUL byte. UsageError: there is no git."""
        for each, old, new in self._modified():
            if max(old.size, new.size) > _MOST_TEXT:
                continue
            bodies = []
            for side, entry in enumerate((old, new)):
                with self._opened(side, each, entry) as stream:
                    bodies.append(stream.read())
            if not any(b"\0" in body for body in bodies):
                yield TextChange(display_path(each.path), _lines(*bodies))

    def write_picture_page(self, path: str | os.PathLike[str]) -> int:
        """Write a page with the pictures that were changed: before, after, and what differs; return how many they are.

        One file of HTML, with at most 1,000 of them. Needs ``penstock[similarity]``. AccessError: it cannot be written.
        """
        from penstock.repo.export.finished_file import whole_file
        from penstock.repo.similarity.picture_page import picture_page
        from penstock.repo.similarity.picture_processes import PictureProcesses

        count = 0

        def rows(processes: PictureProcesses) -> Iterator[PageRow]:
            nonlocal count
            for row in self._pictures(processes):
                count += 1
                if count <= _MOST_PICTURES:
                    yield row

        with PictureProcesses() as processes, whole_file(os.fspath(path)) as file:
            about = "Before, after, and what differs: black where nothing does"
            for piece in picture_page("Pictures that were changed", about, rows(processes)):
                file.write(piece.encode("utf-8", "replace"))
        return count

    def _pictures(self, processes: PictureProcesses) -> Iterator[PageRow]:
        from penstock.repo.similarity.near_pictures import is_picture
        from penstock.repo.similarity.picture_messages import CompareTask, NotMade, ShowTask
        from penstock.repo.similarity.picture_page import PageRow, PictureCell

        for each, old, new in self._modified():
            if not is_picture(each.path[-1]):
                continue
            title = display_path(each.path)
            if max(old.size, new.size) > _MOST_PICTURE:
                yield PageRow(title, (PictureCell("before and after", b"", "the file is too large to be shown"),))
                continue
            bodies, cells = [], []
            for side, (label, entry) in enumerate((("before", old), ("after", new))):
                with self._opened(side, each, entry) as stream:
                    bodies.append(stream.read())
                made = processes.ask(ShowTask(bodies[-1]))
                if isinstance(made, NotMade):
                    cells.append(PictureCell(label, b"", made.why))
                else:
                    said = f"{made.width} x {made.height}, {made.mode}, {entry.size:,} bytes"
                    cells.append(PictureCell(label, made.picture, said))
            if all(cell.picture for cell in cells):
                made = processes.ask(CompareTask(*bodies))
                if isinstance(made, NotMade):
                    cells.append(PictureCell("difference", b"", made.why))
                else:
                    cells.append(PictureCell("difference", made.picture, f"{made.share:.1%} of it differs"))
            yield PageRow(title, tuple(cells))


def _lines(before: bytes, after: bytes) -> list[str]:
    """Return what differs between two texts, by git's own diff."""
    with tempfile.TemporaryDirectory(prefix="penstock-diff-") as folder:
        for name, body in (("before", before), ("after", after)):
            with open(os.path.join(folder, name), "wb") as stream:
                stream.write(body)
        command = ["git", "diff", "--no-index", "--no-color", "--no-ext-diff", "--text", "--", "before", "after"]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS, cwd=folder)
        except subprocess.TimeoutExpired:
            return ["@@ it took too long to compare them @@"]
        except FileNotFoundError as error:
            raise UsageError(
                "text cannot be compared", why="there is no git, whose diff does it", fix="Install git."
            ) from error
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
    first = next((at for at, line in enumerate(lines) if line.startswith("@@")), len(lines))
    return lines[first:-1]

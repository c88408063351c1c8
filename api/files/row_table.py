"""A data frame of pandas or polars as columns of plain values, and as the same kind of frame with further columns.

Neither library is imported before somebody hands in one of its frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from penstock.errors import UsageError

__all__ = ["RowTable", "read_table"]


class RowTable(Protocol):
    """Columns by name, in their order. What is missing is None."""

    columns: list[str]

    def values(self, name: str) -> list[Any]:
        """Return a column."""
        ...

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> Any:
        """Return the frame with further columns, in place of those of the same name."""
        ...


class _PandasTable:
    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.columns: list[str] = _names(list(frame.columns))

    def values(self, name: str) -> list[Any]:
        column = self._frame[name]
        return [None if gone else value for value, gone in zip(column.tolist(), column.isna().tolist(), strict=True)]

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> Any:
        pandas = import_module("pandas")
        frame = self._frame.copy()
        for name, values in columns.items():
            frame[name] = pandas.Series(list(values), index=frame.index, dtype=object if name != "id" else None)
        return frame


class _PolarsTable:
    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.columns: list[str] = _names(list(frame.columns))

    def values(self, name: str) -> list[Any]:
        column: list[Any] = self._frame.get_column(name).to_list()
        return [None if value != value else value for value in column]

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> Any:
        polars = import_module("polars")
        kinds = {name: polars.String if name != "id" else None for name in columns}
        return self._frame.with_columns([polars.Series(name, list(columns[name]), kinds[name]) for name in columns])


def _names(columns: list[Any]) -> list[str]:
    if odd := [name for name in columns if not isinstance(name, str)]:
        raise UsageError(f"the column {odd[0]!r} is not named by text", fix="Rename it.")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise UsageError(f"two columns are called {twice!r}", fix="Rename one of them.")
    return columns


def read_table(frame: Any) -> RowTable:
    """Return a data frame as a table. UsageError: it is none of pandas or polars."""
    library = type(frame).__module__.partition(".")[0]
    if library == "pandas" and hasattr(frame, "columns"):
        return _PandasTable(frame)
    if library == "polars" and hasattr(frame, "get_column"):
        return _PolarsTable(frame)
    raise UsageError(
        f"a {type(frame).__name__} is no data frame",
        why="rows are taken from data frames of pandas or polars",
        fix="Make one: pandas.DataFrame(...), polars.DataFrame(...); collect() a lazy one.",
    )

"""What `diff` and `show` tell of the contents of changed files: rows of tables, lines of text, pictures as a page."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from penstock.api.packages.comparison import Comparison
from penstock.cli.invocation import Invocation
from penstock.cli.output import Painted
from penstock.cli.text import quote_name

__all__ = ["content_options", "tell_contents", "wants_contents"]

_COLOURS = {"+": "green", "-": "red", "@": "cyan", "~": "yellow"}
_MOST_VALUE = 60


def content_options(function: click.decorators.FC) -> click.decorators.FC:
    """Give a command the options about contents."""
    for option in (
        click.option(
            "--most", type=click.IntRange(0), default=20, metavar="N", help="Rows of each kind that are listed."
        ),
        click.option("--images", type=click.Path(dir_okay=False), metavar="FILE", help="Show changed pictures there."),
        click.option("--text", is_flag=True, help="List changed lines of text files."),
        click.option("--key", multiple=True, metavar="COLUMN", help="What rows are known by; for --rows, repeatable."),
        click.option("--rows", is_flag=True, help="List changed rows of CSV, JSON lines and Parquet files."),
    ):
        function = option(function)
    return function


def wants_contents(*, rows: bool, key: tuple[str, ...], text: bool, images: str | None) -> bool:
    """Whether any of it is asked for. click.UsageError: --key without --rows."""
    if key and not rows:
        raise click.UsageError("--key is for --rows")
    return rows or text or images is not None


def tell_contents(
    invocation: Invocation,
    found: Comparison,
    *,
    rows: bool,
    key: tuple[str, ...],
    text: bool,
    images: str | None,
    most: int,
) -> None:
    """Tell what is asked for."""
    output = invocation.output
    if rows:
        for table in found.table_changes(key, most=most):
            _tell_rows(invocation, table.path, table.rows, key)
    if text:
        for each in found.text_changes():
            if output.json:
                output.record({"text": each.path, "lines": list(each.lines)})
                continue
            output.line(Painted(quote_name(each.path), "yellow"))
            for line in each.lines:
                colour = _COLOURS.get(line[:1])
                output.line("    ", Painted(line, colour) if colour else line)
    if images is not None:
        count = found.write_picture_page(images)
        output.notice(f"{images} shows {count} changed picture{'' if count == 1 else 's'}")


def _tell_rows(invocation: Invocation, path: str, rows: Any, key: tuple[str, ...]) -> None:
    output = invocation.output
    if output.json:
        output.record({"table": path, **asdict(rows), "rows": [each._asdict() for each in rows.rows]})
        return
    output.line(Painted(quote_name(path), "yellow"))
    output.line(
        f"    {rows.added:,} added, {rows.removed:,} removed, {rows.changed:,} changed; "
        f"{rows.rows_before:,} rows before, {rows.rows_after:,} after"
    )
    for mark, names in (("+", rows.columns_added), ("-", rows.columns_removed)):
        for name in names:
            output.line("    ", Painted(f"{mark} column {name}", _COLOURS[mark]))
    for name, before, after in rows.retyped:
        output.line("    ", Painted(f"~ column {name}: {before}, now {after}", "yellow"))
    for before, after in rows.rows:
        mark = "+" if before is None else "-" if after is None else "~"
        output.line("    ", Painted(f"{mark} {_shown(before, after, key)}", _COLOURS[mark]))
    total, listed = rows.added + rows.removed + rows.changed, len(rows.rows)
    if total > listed:
        output.line(f"    and {total - listed:,} more")


def _shown(before: dict[str, Any] | None, after: dict[str, Any] | None, key: tuple[str, ...]) -> str:
    if before is None or after is None:
        return ", ".join(f"{name}={_value(value)}" for name, value in (before or after or {}).items())
    known = ", ".join(f"{name}={_value(after.get(name))}" for name in key)
    names = [
        name
        for name in {**before, **after}
        if before.get(name) != after.get(name) or (name in before) != (name in after)
    ]
    return f"{known}: " + ", ".join(f"{name} {_value(before.get(name))} -> {_value(after.get(name))}" for name in names)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value, default=str)
    return text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]}…"

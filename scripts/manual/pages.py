"""Manual pages (man(7)) of every command, made of what click knows of it: `scripts/man-pages DIR`.

A page has NAME, SYNOPSIS, DESCRIPTION, OPTIONS, COMMANDS, EXAMPLES, as --help does, and no other text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from penstock import __version__
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.main import root

__all__ = ["manual_pages"]


def manual_pages() -> Iterator[tuple[str, str]]:
    """Yield file names and pages: of the program, each command and each command of a group."""
    yield from _pages(click.Context(root, info_name="penstock"))


def _pages(context: click.Context) -> Iterator[tuple[str, str]]:
    command = context.command
    yield f"{context.command_path.replace(' ', '-')}.1", _page(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _pages(click.Context(below, info_name=name, parent=context))


def _page(context: click.Context) -> str:
    command, path = context.command, context.command_path
    name = path.replace(" ", "-")
    lines = [f'.TH "{name.upper()}" "1" "" "Penstock {__version__}" "Penstock"', ".SH NAME"]
    lines.append(f"{_text(name)} \\- {_text(command.get_short_help_str(200).rstrip('.'))}")
    lines += [".SH SYNOPSIS", f".B {_text(path)}", _text(" ".join(command.collect_usage_pieces(context)))]
    lines.append(".SH DESCRIPTION")
    for paragraph in (command.help or "").split("\n\n"):
        lines += [".PP", _text(" ".join(paragraph.split()))]
    lines += _options(context)
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            if below is not None and not below.hidden:
                lines += [".TP", f".BR {_text(f'{name}-{each}')} (1)", _text(below.get_short_help_str(200))]
    if isinstance(command, Command | LazyGroup) and command.examples:
        lines += [".SH EXAMPLES", ".nf", *(_text(example) for example in command.examples), ".fi"]
    parent = context.parent.command if context.parent is not None else None
    lazy = parent.lazy.get(context.info_name or "") if isinstance(parent, LazyGroup) else None
    if lazy is not None and lazy.of_project:
        other = click.Context(lazy.load(of_project=True), info_name=context.info_name, parent=context.parent)
        lines += [".SH OF WHAT A PROJECT TRACKS", f".B {_text(path)}"]
        lines.append(_text(" ".join(other.command.collect_usage_pieces(other))))
        lines += [".PP", _text(" ".join((other.command.help or "").split())), *_options(other)[1:]]
    if context.parent is not None:
        lines += [".SH SEE ALSO", f".BR {_text(context.parent.command_path.replace(' ', '-'))} (1)"]
    return "\n".join(lines) + "\n"


def _options(context: click.Context) -> list[str]:
    lines = [".SH OPTIONS"]
    for param in context.command.get_params(context):
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None:
            lines += [".TP", f".B {_text(record[0])}", _text(" ".join(record[1].split()))]
    return lines


def _text(text: str) -> str:
    """Return text as roff takes it: backslashes, hyphens and a dot or quote at the beginning of a line say nothing."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, page in manual_pages():
        (directory / name).write_text(page, encoding="utf-8")
        count += 1
    print(f"{count} pages are in {directory}")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))

"""Answers for completion: a process that asks what a question is about, and remembers it (`memory`).

Started by a completion, and not waited for; what it cannot find out it leaves as it was.
"""

from __future__ import annotations

import contextlib
import os
import sys
from itertools import islice
from typing import Any

import click

from penstock.errors import PenstockError

from .memory import keep

__all__ = ["answer_of", "main"]

_PATIENCE = 10.0
_MOST = 2000


def main() -> None:
    """Answer the question that the arguments are."""
    busy, *question = sys.argv[1:]
    try:
        with contextlib.suppress(PenstockError, OSError):
            keep(question, answer_of(question))
    finally:
        with contextlib.suppress(OSError):
            os.unlink(busy)


def answer_of(question: list[str]) -> Any:
    """Return the answer. PenstockError: it cannot be found out."""
    from penstock.api.settings import load_settings

    kind, *named = question
    if kind == "commands":
        from penstock.cli.main import root

        return _table(root, click.Context(root, info_name="penstock", **root.context_settings))
    settings = load_settings()
    if kind == "remotes":
        return [(name, remote.url) for name, remote in sorted(settings.remotes.items())]
    if kind == "datasets":
        from penstock.api.storage.bucket import Bucket

        return [(name, "dataset") for name in Bucket(named[0], settings).datasets(patience=_PATIENCE)[:_MOST]]
    if kind == "refs":
        from penstock.api.datasets.dataset import Dataset

        dataset = Dataset(named[0], settings)
        branches = [(each.branch, f"branch, {each.message}"[:60]) for each in dataset.branches()]
        return (branches + [(each.tag, "tag") for each in dataset.tags()])[:_MOST]
    from penstock.api.handles import parse_handle
    from penstock.api.packages.package import Package

    with Package(parse_handle(named[0]), settings) as package:
        return [(f"{each.key}/" if each.is_directory() else each.key, "") for each in islice(package.ls(), _MOST)]


def _table(command: click.Command, context: click.Context) -> dict[str, Any]:
    """Return what completion has to know of a command and those below it."""
    options: dict[str, Any] = {}
    arguments: list[str] = []
    many = False
    for param in command.get_params(context):
        if isinstance(param, click.Option):
            # --ours may stand alone, and before a path: what follows it is no value of its own then.
            takes = not (param.is_flag or param.count or getattr(param, "_flag_needs_value", False))
            for name in (*param.opts, *param.secondary_opts):
                options[name] = {"help": (param.help or "").partition(". ")[0], "kind": _kind(param) if takes else ""}
        else:
            arguments.append(_kind(param))
            many = param.nargs == -1
    commands: dict[str, Any] = {}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                commands[name] = _table(found, click.Context(found, info_name=name, parent=context))
    return {
        "help": command.get_short_help_str(60),
        "options": options,
        "arguments": arguments,
        "many": many,
        "commands": commands,
    }


def _kind(param: click.Parameter) -> str:
    """Return how a value completes; `text`: not at all."""
    completes = getattr(param.type, "completes", None)
    if completes is not None:
        return str(completes)
    if isinstance(param.type, click.Choice):
        return "choice:" + "|".join(map(str, param.type.choices))
    if isinstance(param.type, click.Path):
        return "file" if param.type.file_okay else "dir"
    return "text"


if __name__ == "__main__":
    main()

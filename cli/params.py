"""Types of arguments: a handle, a size. Each turns text into a value or raises UsageError, and completes in a shell.

Used by the files that define commands.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from penstock.errors import PenstockError
from penstock.repo.handle import GRAMMAR, Handle, parse_handle
from penstock.repo.sizes import parse_size

from .invocation import Invocation

__all__ = ["HANDLE", "SIZE", "complete_remote_names"]


def complete_remote_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the configured remotes that start with `incomplete`; none when the configuration cannot be read."""
    # No object was made for the context: completion parses the words of a command line that nobody runs.
    config = ctx.find_root().params.get("config")
    try:
        remotes = Invocation(config=config).settings().remotes
    except PenstockError:
        return []
    return [
        CompletionItem(name, help=remote.url) for name, remote in sorted(remotes.items()) if name.startswith(incomplete)
    ]


class _HandleType(click.ParamType[Handle]):
    """``bucket/dataset[:ref][/subdir]``."""

    name = "handle"

    def convert(self, value: str | Handle, param: click.Parameter | None, ctx: click.Context | None) -> Handle:  # noqa: ARG002  # click asks
        return value if isinstance(value, Handle) else parse_handle(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002  # click asks
        return GRAMMAR

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if "/" in incomplete:
            return []
        return complete_remote_names(ctx, param, incomplete)


class _SizeType(click.ParamType[int]):
    """``50GB``, ``512MiB``: bytes."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002  # click asks
        return value if isinstance(value, int) else parse_size(value)


HANDLE = _HandleType()
SIZE = _SizeType()

"""What commands take: handles, sizes, sides of a merge. Text becomes a value or a UsageError."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock.api.handles import GRAMMAR, Handle, parse_handle, parse_size

if TYPE_CHECKING:
    pass

__all__ = ["HANDLE", "OCTAL", "REMOTE_NAME", "SIZE", "VERSION_TEXT", "HandleType", "side_options"]


def side_options(function: click.decorators.FC) -> click.decorators.FC:
    """Give a command the options --ours and --theirs: each alone, or with a path, any number of times."""
    for side, what in (("--theirs", "the version that is merged in"), ("--ours", "the version that the branch has")):
        function = click.option(
            side,
            multiple=True,
            is_flag=False,
            flag_value="/",
            metavar="[PATH]",
            help=f"Resolve conflicts (all, or those at and below PATH) with {what}.",
        )(function)
    return function


class HandleType(click.ParamType[Handle]):
    """``bucket/dataset[:ref][/subdir]``."""

    name = "handle"
    completes = "handle"
    """How `shell` completes it."""

    def convert(self, value: str | Handle, param: click.Parameter | None, ctx: click.Context | None) -> Handle:  # noqa: ARG002  # click asks
        """Return the handle. UsageError: it is none."""
        return value if isinstance(value, Handle) else parse_handle(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002  # click asks
        """Return the grammar, as help shows it."""
        return GRAMMAR


class _VersionTextType(click.ParamType[str]):
    """A handle, a ref or a path, which the command tells apart."""

    name = "text"
    completes = "version"


class _RemoteNameType(click.ParamType[str]):
    """The name of a remote."""

    name = "name"
    completes = "remote"


class _SizeType(click.ParamType[int]):
    """``50GB``, ``512MiB``: bytes."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002  # click asks
        return value if isinstance(value, int) else parse_size(value)


class _OctalType(click.ParamType[int]):
    """``022``: permission bits."""

    name = "bits"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            bits = int(value, 8)
        except ValueError:
            bits = -1
        if not 0 <= bits <= 0o777:
            self.fail(f"{value!r} is not octal digits up to 777", param, ctx)
        return bits


HANDLE = HandleType()
SIZE = _SizeType()
OCTAL = _OctalType()
REMOTE_NAME = _RemoteNameType()
VERSION_TEXT = _VersionTextType()

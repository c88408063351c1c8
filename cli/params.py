"""What commands take: handles, sizes, sides of a merge. Text becomes a value or a UsageError, and completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from penstock.api.handles import GRAMMAR, Handle, parse_handle, parse_size
from penstock.errors import PenstockError

from .invocation import Invocation

if TYPE_CHECKING:
    from penstock.api.settings import Settings

__all__ = ["HANDLE", "OCTAL", "SIZE", "HandleType", "complete_remote_names", "side_options"]

_PATIENCE = 1.5  # seconds


def complete_remote_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the configured remotes that start with `incomplete`; none when the configuration cannot be read."""
    settings = _settings(ctx)
    remotes = settings.remotes if settings else {}
    return [
        CompletionItem(name, help=remote.url) for name, remote in sorted(remotes.items()) if name.startswith(incomplete)
    ]


def _settings(ctx: click.Context) -> Settings | None:
    # No object was made for the context: completion parses the words of a command line that nobody runs.
    try:
        return Invocation(config=ctx.find_root().params.get("config")).settings()
    except PenstockError:
        return None


def _datasets(settings: Settings | None, bucket: str) -> list[str]:
    """Return the datasets of a remote, if it answers at once: somebody waits with a finger on the key."""
    if settings is None or bucket not in settings.remotes:
        return []

    from penstock.api.storage.bucket import Bucket  # brings the stores along

    try:
        return Bucket(bucket, settings).datasets(patience=_PATIENCE)
    except PenstockError:
        return []


def side_options(function: click.decorators.FC) -> click.decorators.FC:
    """Give a command the options --ours and --theirs: each alone, or with a path, any number of times."""
    for side, what in (("--theirs", "what is brought in"), ("--ours", "what the branch has")):
        function = click.option(
            side,
            multiple=True,
            is_flag=False,
            flag_value="/",
            metavar="[PATH]",
            help=f"Settle conflicts (at PATH and below) with {what}.",
        )(function)
    return function


class HandleType(click.ParamType[Handle]):
    """``bucket/dataset[:ref][/subdir]``."""

    name = "handle"

    def convert(self, value: str | Handle, param: click.Parameter | None, ctx: click.Context | None) -> Handle:  # noqa: ARG002  # click asks
        """Return the handle. UsageError: it is none."""
        return value if isinstance(value, Handle) else parse_handle(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002  # click asks
        """Return the grammar, as help shows it."""
        return GRAMMAR

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the buckets, or the datasets of one, that begin so."""
        bucket, slash, dataset = incomplete.partition("/")
        if not slash:
            names = complete_remote_names(ctx, param, bucket)
            return [CompletionItem(f"{item.value}/", help=item.help) for item in names]
        datasets = _datasets(_settings(ctx), bucket)
        return [CompletionItem(f"{bucket}/{name}") for name in datasets if name.startswith(dataset)]


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

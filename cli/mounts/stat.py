"""``penstock stat``: what a path in a mount is."""

from __future__ import annotations

import base64
import datetime as dt
import stat as stat_bits
from collections.abc import Iterator
from dataclasses import asdict

import click

from penstock.api.handles import format_size
from penstock.api.mounts.mounted_path import MountedPath, stat
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import JsonValue

__all__ = ["stat_"]

_SHOWN = 5


@click.command(
    "stat",
    cls=Command,
    examples=("penstock stat /mnt/photos/cat.jpg", "penstock stat /mnt/photos --json"),
)
@click.argument("path", type=click.Path())
@pass_invocation
def stat_(invocation: Invocation, path: str) -> None:
    """Describe PATH in a mount: its version, hash, cached share, storage location and metadata.

    Programs can read the same as extended attributes: user.penstock.top_hash, .commit, .hash, .cached, .physical, and
    on the mountpoint user.penstock.handle and .bytes_fetched. They do not show up in listings of attributes, so that
    copying a file does not copy them.
    """
    found = stat(path)
    if invocation.output.json:
        invocation.output.document(_as_json(found))
        return
    for line in _lines(found):
        invocation.output.line(line)


def _as_json(found: MountedPath) -> dict[str, JsonValue]:
    fields = asdict(found)
    fields["attributes"] = {name: _text(value) for name, value in found.attributes.items()}
    fields["mode"] = f"{found.mode:04o}"
    return fields


def _text(value: bytes) -> JsonValue:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _lines(found: MountedPath) -> Iterator[str]:
    yield found.path
    size = f", {format_size(found.size)}" if found.kind == "file" else ""
    links = f", {found.links} names" if found.links > 1 else ""
    yield f"  is        a {found.kind}{size}, {stat_bits.filemode(found.mode)[1:]}{links}"
    yield f"  modified  {_time(found.modified)}"
    if found.top_hash is not None:
        yield f"  top hash  {found.top_hash}"
        yield f"  commit    {found.commit or 'none: it is mounted by its top hash'}"
        yield f"  hash      {found.hash or 'none yet: it was changed, and not committed'}"
    if found.cached is not None:
        yield f"  cached    {found.cached} of {found.blocks} blocks"
    if found.physical is None:
        yield "  bytes in  more places than a mount can say"
    for place in (found.physical or ())[:_SHOWN]:
        yield f"  bytes in  {place.uri}, {place.length} from {place.offset}"
    if found.physical is not None and len(found.physical) > _SHOWN:
        yield f"            and {len(found.physical) - _SHOWN} places more"
    for key, value in found.metadata.items():
        yield f"  metadata  {key} = {value}"
    for name, data in found.attributes.items():
        yield f"  attribute {name} = {data!r}"


def _time(seconds: float) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # beyond what a calendar holds
        return f"{seconds} seconds since 1970"

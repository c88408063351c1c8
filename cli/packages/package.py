"""``penstock package``: a package is built step by step, by commands in one directory, and pushed; or installed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict

import click

from penstock.api.builder.builder import PackageBuilder
from penstock.api.builder.builder_sources import BuilderSource, nested
from penstock.api.builder.builder_state import begin_builder, kept_builder
from penstock.api.handles import Handle, handle_text
from penstock.api.mounts.mounts import mount
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import HANDLE
from penstock.cli.versions import tell_risk
from penstock.errors import UsageError

__all__ = ["package"]

_SHORT = 9
_OURS = click.option("--ours", "conflicts", flag_value="ours", help="If both sides have a key, keep the existing one.")
_THEIRS = click.option("--theirs", "conflicts", flag_value="theirs", help="If both sides have a key, take the new one.")


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    examples=(
        "penstock package init demo/photos",
        "penstock package add train/",
        "penstock package push-data",
        "penstock package push-manifest -t v1",
    ),
)
@click.pass_context
def package(context: click.Context) -> None:
    """Build a package step by step: init, add, set, status, build-manifest, push-data, push-manifest; or install one.

    The state of the build is kept in .penstock/ in the working directory.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@package.command(cls=Command, examples=("penstock package init demo/photos",))
@click.argument("handle", type=HANDLE)
@click.option("--force", is_flag=True, help="Discard an unfinished build in this directory.")
@pass_invocation
def init(invocation: Invocation, handle: Handle, force: bool) -> None:
    """Start building a version of a dataset in this directory."""
    begin_builder(os.curdir, handle, invocation.settings(), force=force)
    _tell(invocation.output, f"New PackageBuilder {handle_text(handle)} created", {"name": str(handle)})


@package.command(
    cls=Command,
    examples=(
        "penstock package add train/",
        "penstock package add val/ s3://other/validation/",
        "penstock package add test/ ../test/",
    ),
)
@click.argument("key")
@click.argument("source", required=False)
@_OURS
@_THEIRS
@pass_invocation
def add(invocation: Invocation, key: str, source: str | None, conflicts: str | None) -> None:
    """Add the file, directory or S3 objects at SOURCE under KEY; without SOURCE, KEY is both path and key.

    Files are hashed now and sent by push-data; they must not change in between. S3 objects stay where they are; a
    trailing slash means all objects below a prefix.
    """
    place = source if source is not None else key
    with kept_builder(os.curdir, invocation.settings()) as builder, invocation.progress() as progress:
        builder.add(place, key if source is not None else None, conflicts=conflicts, progress=progress)  # type: ignore[arg-type]  # by the options
        added = builder.sources[-1]
        name = builder.name
        skipped, unpinned = builder.skipped, builder.unpinned
    if place.startswith("s3://"):
        what = f"objects in {place}" if added.is_directory else place
    else:
        what = f"contents of directory {added.origin}" if added.is_directory else added.origin
    if unpinned:
        invocation.output.notice(
            f"{unpinned} objects could not be pinned: the server gives them neither a version nor an ETag. When one "
            "changes, reading it is an error, but what it was cannot be asked for"
        )
    for each in skipped[:20]:
        invocation.output.notice(f"skipped {each}")
    shown = f"{added.shown_key}..." if added.is_directory else added.key
    _tell(invocation.output, f"Adding {what} to {name} as {shown}", {"key": added.key, "source": place})


@package.command("set", cls=Command, examples=("penstock package set train/1.jpg ./better/1.jpg",))
@click.argument("key")
@click.argument("source")
@pass_invocation
def set_(invocation: Invocation, key: str, source: str) -> None:
    """Set KEY to a local file or an S3 object."""
    with kept_builder(os.curdir, invocation.settings()) as builder:
        builder.set(key, source)
    _tell(invocation.output, f"Setting logical key {key} as {source}", {"key": key, "source": source})


@package.command(cls=Command, examples=("penstock package status", "penstock package status --json"))
@pass_invocation
def status(invocation: Invocation) -> None:
    """Show the current build: its name, hash, and the sources of its parts."""
    output = invocation.output
    with kept_builder(os.curdir, invocation.settings(), changes=False) as builder:
        if output.json:
            output.document(
                {
                    "name": builder.name,
                    "version": builder.version_name or None,
                    "top_hash": builder.top_hash,
                    "manifest": builder.manifest,
                    "entries": len(builder),
                    "sources": [
                        {"key": each.key, "origin": each.origin, "where": each.shown_place, "local": each.is_local}
                        for each in builder.sources
                    ],
                }
            )
            return
        top_hash = builder.top_hash
        if builder.version_name and top_hash is not None:
            output.line(f"Package: {builder.version_name} ({top_hash[:_SHORT]})")
            output.line("Data matches manifest")
            return
        output.line(f"PackageBuilder: {builder.name} ({top_hash[:_SHORT] if top_hash else 'pre-manifest'})")
        output.line()
        output.line("Data:")
        _tell_sources(output, builder.sources)


def _tell_sources(output: Output, sources: Sequence[BuilderSource]) -> None:
    output.table(("", each.shown_key, "->", each.shown_place) for each in nested(sources))


@package.command("build-manifest", cls=Command, examples=("penstock package build-manifest",))
@pass_invocation
def build_manifest(invocation: Invocation) -> None:
    """Compute and print the top hash of the build."""
    with kept_builder(os.curdir, invocation.settings()) as builder:
        _build(builder, invocation)
        top_hash = builder.top_hash
    if invocation.output.json:
        invocation.output.document({"top_hash": top_hash})


def _build(builder: PackageBuilder, invocation: Invocation) -> None:
    with invocation.progress() as progress:
        builder.build_manifest(progress=progress)
    if not invocation.output.json:
        invocation.output.line("Building manifest...")
        invocation.output.line(f"Tophash: {builder.top_hash}")


@package.command(
    "push-data",
    cls=Command,
    examples=("penstock package push-data", "penstock package push-data --prefix=data/photos/v0/ --local-files-only"),
)
@click.option("--prefix", metavar="KEY", help="Store each file as one object below KEY, instead of in packs.")
@click.option("--local-files-only", is_flag=True, help="Leave objects in other buckets where they are.")
@pass_invocation
def push_data(invocation: Invocation, prefix: str | None, local_files_only: bool) -> None:
    """Upload the contents of the build. Data that the bucket already has is not sent again."""
    output = invocation.output
    with kept_builder(os.curdir, invocation.settings()) as builder, invocation.progress() as progress:
        builder.push_data(prefix=prefix, local_files_only=local_files_only, progress=progress)
        sent, transfers = builder.sent, builder.transfers
    assert sent is not None
    if output.json:
        output.document(asdict(sent))
        return
    for each in transfers:
        verb = "Copying" if each.is_copy else "Pushing"
        dots = "..." if each.source.is_directory and prefix is not None else ""
        exists = "" if each.bytes else " (data exists, skipping)"
        output.line(f"{verb} {each.source.origin} to {each.where}{dots}{exists}")
    if sent.left:
        objects = f"{sent.left} object{' stays where it lies' if sent.left == 1 else 's stay where they lie'}"
        output.notice(f"{objects}: pinned by identity, which nobody has read, or in S3, beside a bucket that is not")


@package.command(
    "push-manifest",
    cls=Command,
    examples=("penstock package push-manifest -t v1", 'penstock package push-manifest -m "more labels"'),
)
@click.option("-t", "--tag", metavar="NAME", help="Tag the version; if a branch has this name, move the branch.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the version.")
@click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")
@click.option("--force-allow-local-files", is_flag=True, help="Allow entries that point to files on this machine.")
@click.option("--force-allow-empty", is_flag=True, help="Allow an empty package.")
@_OURS
@_THEIRS
@pass_invocation
def push_manifest(
    invocation: Invocation,
    tag: str | None,
    message: str,
    author: str | None,
    force_allow_local_files: bool,
    force_allow_empty: bool,
    conflicts: str | None,
) -> None:
    """Publish the build as the next version of its branch.

    Changes that others made there in the meantime are merged in. A path that both sides changed is a conflict (exit
    code 4), unless you choose --ours (the branch) or --theirs (the build).
    """
    output = invocation.output
    with kept_builder(os.curdir, invocation.settings()) as builder:
        key = builder.local_key
        if key is not None and not force_allow_local_files:
            raise UsageError(
                "Manifest contains pointers to local files",
                why=f"{key!r} is one of them",
                fix="Use push-data to first push those files or --force-allow-local-files if this is intentional",
            )
        if builder.top_hash is None:
            _build(builder, invocation)
            if not output.json:
                output.line()
        with warnings.catch_warnings(record=True) as told, invocation.progress() as progress:
            warnings.simplefilter("always")
            pushed = builder.push_manifest(
                tag,
                message=message,
                author=author,
                conflicts=conflicts,  # type: ignore[arg-type]  # by the options
                allow_local_files=force_allow_local_files,
                allow_empty=force_allow_empty,
                progress=progress,
            )
        manifest, risk = builder.manifest, builder.risk
    for each in told:
        output.notice(f"warning: {each.message}")
    tell_risk(output, risk)
    if output.json:
        output.document({"version": pushed.name, "top_hash": pushed.top_hash, "manifest": manifest})
        return
    output.line(f"Pushing manifest to {manifest}")
    output.line(f"Linking {pushed.name} to manifest {pushed.top_hash[:_SHORT]}")


@package.command(
    cls=Command,
    examples=(
        "penstock package install demo/photos:v1 --location ./photos",
        "penstock package install demo/photos:v1 --location ./photos --lazy-download",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--location", required=True, metavar="DIR", help="Directory for the files.")
@click.option("--lazy-download", is_flag=True, help="Mount it, and fetch only what is read.")
@pass_invocation
def install(invocation: Invocation, handle: Handle, location: str, lazy_download: bool) -> None:
    """Install a version into a directory: download it, or mount it with --lazy-download (undo with umount)."""
    settings = invocation.settings()
    if lazy_download:
        os.makedirs(location, exist_ok=True)
        mount(handle, location, settings=settings)
    else:
        with Package(handle, settings) as version, invocation.progress() as progress:
            version.download(location, progress=progress)
    plain = os.path.normpath(location)
    shown = plain if plain.startswith(("/", "..")) else f"./{plain}"
    _tell(
        invocation.output,
        f"Installing Package {handle_text(handle)} to {shown}/...",
        {"package": str(handle), "location": location},
    )


def _tell(output: Output, line: str, document: dict[str, str]) -> None:
    if output.json:
        output.document(dict(document))
    else:
        output.line(line)

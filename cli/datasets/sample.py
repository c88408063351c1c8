"""``penstock sample`` and ``penstock split``: new datasets of some of the files of a version, with no data copied."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE

from .meta import tell_new_version

__all__ = ["sample", "split"]

_SEED = click.option("--seed", type=int, default=0, show_default=True, help="The same seed selects the same files.")
_STRATIFY = click.option("--stratify", metavar="FIELD", help="Keep the share of each value of FIELD.")
_WHERE = click.option("--where", metavar="EXPRESSION", help="Only files for which this is true, as in `penstock find`.")
_MESSAGE = click.option("-m", "--message", default="", metavar="TEXT", help="Describe the version.")
_TAG = click.option("--tag", metavar="NAME", help="Also tag the new version.")
_AUTHOR = click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")


def _package(invocation: Invocation, handle: Handle) -> Package:
    return Package(Handle(handle.bucket, handle.dataset, handle.ref), invocation.settings())


@click.command(
    cls=Command,
    examples=(
        "penstock sample demo/photos:v1 --n 1000 --seed 0 --stratify label --to demo/photos-small",
        "penstock sample demo/photos:v1 --where 'label == \"cat\"' --to demo/cats",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option(
    "--n", "count", type=click.IntRange(min=0), metavar="N", help="Number of files to pick at random (default: all)."
)
@click.option("--to", type=HANDLE, required=True, help="Dataset to create, in the same bucket.")
@_SEED
@_STRATIFY
@_WHERE
@_MESSAGE
@_TAG
@_AUTHOR
@pass_invocation
def sample(
    invocation: Invocation,
    handle: Handle,
    count: int | None,
    to: Handle,
    seed: int,
    stratify: str | None,
    where: str | None,
    message: str,
    tag: str | None,
    author: str | None,
) -> None:
    """Create a dataset from some files of a version: N random ones, or those that match --where.

    No data is copied. The new dataset records its origin in its metadata, as derived_from.
    """
    with _package(invocation, handle) as package, invocation.progress() as progress:
        made = package.sample(
            count,
            to,
            seed=seed,
            stratify=stratify,
            prefix=handle.subdir,
            where=where,
            tag=tag,
            message=message,
            author=author,
            progress=progress,
        )
    tell_new_version(invocation, made)


@click.command(
    cls=Command,
    examples=(
        "penstock split demo/photos:v1 --train .8 --val .1 --test .1 --stratify label --group patient",
        "penstock split demo/photos --part left=1 --part right=1 --to demo/halves",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--train", type=float, metavar="SHARE", help="Share of the part `train`.")
@click.option("--val", type=float, metavar="SHARE", help="Share of the part `val`.")
@click.option("--test", type=float, metavar="SHARE", help="Share of the part `test`.")
@click.option("--part", "parts", multiple=True, metavar="NAME=SHARE", help="Another part; can be repeated.")
@click.option("--to", type=HANDLE, help="Base name of the new datasets, NAME-PART (default: this dataset's name).")
@_SEED
@_STRATIFY
@click.option("--group", metavar="FIELD", help="Keep files with the same value of FIELD in one part.")
@_WHERE
@_MESSAGE
@_TAG
@_AUTHOR
@pass_invocation
def split(
    invocation: Invocation,
    handle: Handle,
    train: float | None,
    val: float | None,
    test: float | None,
    parts: tuple[str, ...],
    to: Handle | None,
    seed: int,
    stratify: str | None,
    group: str | None,
    where: str | None,
    message: str,
    tag: str | None,
    author: str | None,
) -> None:
    """Split the files of a version at random into new datasets in the same bucket, by the given shares.

    No data is copied. Each new dataset records its origin in its metadata, as derived_from.
    """
    given = {"train": train, "val": val, "test": test}
    shares = {name: share for name, share in given.items() if share is not None}
    for part in parts:
        name, _, share = part.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise click.UsageError(f"{part!r} is not NAME=SHARE") from None
    with _package(invocation, handle) as package, invocation.progress() as progress:
        made = package.split(
            shares,
            to,
            seed=seed,
            stratify=stratify,
            group=group,
            prefix=handle.subdir,
            where=where,
            tag=tag,
            message=message,
            author=author,
            progress=progress,
        )
    if invocation.output.json:
        for name, version in made.items():
            invocation.output.record({"part": name, **asdict(version), "risk": version.risk or None})
        return
    for version in made.values():
        tell_new_version(invocation, version)

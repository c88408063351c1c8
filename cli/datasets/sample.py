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

_SEED = click.option("--seed", type=int, default=0, show_default=True, help="The same seed chooses the same files.")
_STRATIFY = click.option("--stratify", metavar="FIELD", help="Each value of it keeps its share.")
_WHERE = click.option("--where", metavar="EXPRESSION", help="Only of files that this is true for, as `penstock find`.")
_MESSAGE = click.option("-m", "--message", default="", metavar="TEXT", help="Say what it is for.")
_TAG = click.option("--tag", metavar="NAME", help="Give the new version a tag, too.")
_AUTHOR = click.option("--author", metavar="NAME", help="Who made it; as git has it by default.")


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
@click.option("--n", "count", type=click.IntRange(min=0), metavar="N", help="So many files, by chance; else all.")
@click.option("--to", type=HANDLE, required=True, help="The dataset, in the same bucket, that they are to be.")
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
    """Make some of the files of a version a dataset of their own: N by chance, or those that --where is true for.

    No data is copied. What it was made from, and how, stands in the dataset's metadata as derived_from.
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
@click.option("--train", type=float, metavar="SHARE", help="The share of the part `train`.")
@click.option("--val", type=float, metavar="SHARE", help="That of `val`.")
@click.option("--test", type=float, metavar="SHARE", help="That of `test`.")
@click.option("--part", "parts", multiple=True, metavar="NAME=SHARE", help="Another part; may be given again.")
@click.option("--to", type=HANDLE, help="Call the datasets so, with a dash and the part; as this one by default.")
@_SEED
@_STRATIFY
@click.option("--group", metavar="FIELD", help="Files with the same value of it stay in one part.")
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
    """Divide the files of a version among new datasets in the same bucket, by chance and in proportion.

    No data is copied. What they were made from, and how, stands in the metadata of each as derived_from.
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

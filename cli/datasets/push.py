"""``penstock push`` and ``penstock hash``: a directory as a version, and what its top hash would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.datasets.push import hash_directory
from penstock.api.handles import DEFAULT_BRANCH, Handle, dataset_alone, parse_handle
from penstock.api.settings import allowed_record
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import UNREAD_HANDLE, handle_beside
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.versions import tell_risk
from penstock.errors import UsageError

from .parts import PART, tell_part, tell_push, tell_skipped

__all__ = ["hash_", "push_"]

_Callback = TypeVar("_Callback", bound=Callable[..., Any])
_DIRECTORY = click.Path(file_okay=True, dir_okay=True)


def _kept_options(command: _Callback) -> _Callback:
    """Add what says which attributes of files count."""
    command = click.option("--xattrs", is_flag=True, help="Keep user extended attributes.")(command)
    return click.option("--modes", is_flag=True, help="Keep permission bits.")(command)


@click.command(
    "push",
    cls=Command,
    examples=(
        "penstock push ./photos demo/photos",
        'penstock push ./photos demo/photos:main -m "first batch" --tag v1',
        "penstock push ./photos file:///srv/store/photos:review",
        "penstock push --in-place s3://open-data/images lab/images",
        "penstock push --in-place --identity s3://open-data/images lab/images",
        "penstock push . lab/runs --tag 2026-11-30 --workspace",
        'penstock push /scratch/photos lab/photos --part 3/16 --run "$JOB"',
    ),
)
@click.argument("directory", type=_DIRECTORY)
@click.argument("handle", type=UNREAD_HANDLE)
@click.option("--in-place", is_flag=True, help="Copy nothing; point to the files where they are.")
@click.option("--skip-unreadable", is_flag=True, help="With --in-place: skip objects that cannot be read.")
@click.option("--workspace", is_flag=True, help="Also record the git commit, container and installed packages.")
@click.option("--require-versioned", is_flag=True, help="With --in-place: refuse objects without a version.")
@click.option("--identity", is_flag=True, help="With --in-place: do not read objects; pin them by size and ETag.")
@click.option("--drop-metadata", is_flag=True, help="Do not keep the metadata of the branch.")
@click.option(
    "--part",
    "share",
    type=PART,
    metavar="I/N",
    help="Send only part I of N; `penstock merge-parts` publishes all parts.",
)
@click.option("--run", metavar="NAME", help="With --part: a name that all parts share, such as a job id.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the version.")
@click.option("--tag", metavar="NAME", help="Also tag the version.")
@click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")
@_kept_options
@pass_invocation
def push_(
    invocation: Invocation,
    directory: str,
    handle: Handle,
    in_place: bool,
    skip_unreadable: bool,
    workspace: bool,
    require_versioned: bool,
    identity: bool,
    drop_metadata: bool,
    share: tuple[int, int] | None,
    run: str | None,
    message: str,
    tag: str | None,
    author: str | None,
    modes: bool,
    xattrs: bool,
) -> None:
    """Publish the contents of DIRECTORY as the next version of a dataset.

    The handle names the branch (default: main). The dataset and the branch are created if needed, and only data that
    the bucket does not have yet is uploaded. Files that match .penstockignore (which works like .gitignore) are left
    out. Symlinks are kept; sockets, pipes and devices are listed and skipped. Of the permission bits, only the
    executable bit is kept; --modes and --xattrs keep all bits and attributes, which then count in the top hash.
    Metadata of the dataset, and of paths that still exist, is kept unless you give --drop-metadata.

    With --in-place, DIRECTORY can also be s3://bucket/prefix. Files are read once to hash them, and registered where
    they are. If one changes later, reading it through the dataset fails. A directory on this machine can only be
    registered in a local bucket, and is then noted as one that datasets may read. If objects cannot be read, such as
    archived ones, they are listed, nothing is published, and the exit code is 1; --skip-unreadable publishes the rest.

    With --identity, objects are not even read: the version pins the sizes and ETags from a listing. Reading an object
    that has changed since then fails, but nothing proves that the store returns the right bytes.

    With --workspace, the version records what DIRECTORY was made with, and `penstock show` prints it: git commit,
    branch and remote, container image (for Docker, from PENSTOCK_CONTAINER_IMAGE), Python, and installed packages.
    Passwords are never recorded, and .git is left out.

    With --part, several processes that see the same directory each push a share of its files; `penstock merge-parts`
    publishes them as one version. --run is a name that all parts share, and that is new for each push, such as
    "$SLURM_ARRAY_JOB_ID". If a part fails, run it again; data that was already sent is not sent twice.
    """
    if (share is None) != (run is None):
        raise click.UsageError("--part and --run go together")
    if share is not None and (in_place or workspace or drop_metadata or message or tag or author):
        raise click.UsageError(
            "--part goes with --run, --modes and --xattrs; merge-parts takes what is said of a version"
        )
    if (skip_unreadable or require_versioned or identity) and not in_place:
        raise click.UsageError("--skip-unreadable, --require-versioned and --identity go with --in-place")
    if in_place and (modes or xattrs):
        raise click.UsageError("--modes and --xattrs go without --in-place")
    if workspace and in_place:
        raise click.UsageError("--workspace does not go with --in-place")
    # What is registered in place has an address, so that none of the two is a path.
    handle = parse_handle(str(handle)) if in_place else handle_beside(invocation, handle, directory, last=True)
    alone = dataset_alone(handle)
    if handle.subdir:
        raise UsageError(
            f"cannot push into {handle.subdir!r} of a version", fix=f"Push the whole directory: {alone}[:branch]"
        )
    dataset, branch = Dataset(alone, invocation.settings()), handle.ref or DEFAULT_BRANCH
    if share is not None and run is not None:
        number, of = share
        with invocation.progress() as progress:
            part = dataset.push_part(
                directory, number, of, run=run, branch=branch, modes=modes, xattrs=xattrs, progress=progress
            )
        tell_skipped(invocation.output, part.skipped)
        tell_risk(invocation.output, part.risk)
        tell_part(invocation, part, dataset.name)
        return
    with invocation.progress() as progress:
        if in_place:
            report = dataset.push_in_place(
                directory,
                branch=branch,
                tag=tag,
                message=message,
                author=author,
                skip_unreadable=skip_unreadable,
                require_versioned=require_versioned,
                identity=identity,
                drop_metadata=drop_metadata,
                progress=progress,
            )
        else:
            report = dataset.push(
                directory,
                branch=branch,
                tag=tag,
                message=message,
                author=author,
                modes=modes,
                xattrs=xattrs,
                workspace=workspace,
                drop_metadata=drop_metadata,
                progress=progress,
            )
    tell_skipped(invocation.output, report.skipped)
    for note in report.notes:
        invocation.output.notice(note)
    if report.unpinned:
        invocation.output.notice(
            f"{report.unpinned} files could not be pinned: the server gives them neither a version nor an ETag. When "
            "one changes, reading it is an error as ever, but what it was cannot be asked for; each push reads it anew"
        )
    if report.unversioned and identity:
        invocation.output.notice(
            f"{report.unversioned} files are pinned by their ETags alone, as a listing says no versions: once one is "
            "overwritten, what it was cannot be read any more. --require-versioned asks for each one's version"
        )
    elif report.unversioned:
        invocation.output.notice(
            f"{report.unversioned} files lie in a bucket that keeps no versions: once one is overwritten, what it was "
            "cannot be read any more. --require-versioned refuses them"
        )
    if report.allowed_folder is not None:
        invocation.output.notice(
            f"from now on data sets in local buckets may read what lies below {report.allowed_folder} on this machine; "
            f"noted in {allowed_record()}"
        )
    tell_risk(invocation.output, report.risk)
    for each in report.unreadable:
        invocation.output.notice(f"left out {each.key}: {each.why}")
    tell_push(invocation, report)
    if report.unreadable:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


@click.command(
    "hash",
    cls=Command,
    examples=("penstock hash ./photos", "penstock hash /mnt/photos --json"),
)
@click.argument("directory", type=_DIRECTORY)
@_kept_options
@pass_invocation
def hash_(invocation: Invocation, directory: str, modes: bool, xattrs: bool) -> None:
    """Print the top hash that DIRECTORY would have as a version.

    Nothing is uploaded, and no bucket is needed. Directories with the same names, contents, symlinks and executable
    bits have the same top hash on every machine. Times and owners do not count; modes and attributes count only if you
    ask for them, as with push. A version with metadata has a different top hash than its plain files; use
    `penstock diff HANDLE DIRECTORY` to compare just the files.
    """
    with invocation.progress() as progress:
        found = hash_directory(directory, modes=modes, xattrs=xattrs, progress=progress)
    tell_skipped(invocation.output, found.skipped)
    if invocation.output.json:
        invocation.output.document(asdict(found))
    else:
        invocation.output.line(found.top_hash)

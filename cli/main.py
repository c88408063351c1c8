"""The command line's entry: the list of commands, and the one place where a run ends.

`main` is what `entry` runs, the console script; `root` is the group, which tests run in process. Whatever happens in a
command leaves here as an exit code and, when there is something to say, as a message: `exits` decides which. A new
command is one line in `_COMMANDS`, and a file in the room of its subject.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from penstock import __version__
from penstock.error_form import ErrorForm
from penstock.errors import AccessError

from .commands import LazyCommand, LazyGroup
from .exits import ExitCode, describe, save_traceback
from .invocation import Invocation, pass_invocation
from .waiting import can_draw, wait_line

__all__ = ["Root", "main", "root", "run"]

_COMMANDS = {
    "add": LazyCommand("project.tracked:add", "Track files and directories of a project."),
    "branch": LazyCommand("history.branches:branch", "List, make or delete branches."),
    "cache": LazyCommand("storage.cache:cache", "Look after the block cache: info, clear, verify."),
    "cat": LazyCommand("packages.browse:cat", "Write files of a version to standard output."),
    "checkout": LazyCommand("project.tracked:checkout", "Bring tracked paths to the versions of their pointers."),
    "commit": LazyCommand("mounts.commit:commit_", "Make what was changed in a mount the next version."),
    "completion": LazyCommand("completion:completion", "Print the completion script of SHELL: bash, zsh or fish."),
    "conflicts": LazyCommand("mounts.conflicts:conflicts", "Show both sides of what others have changed as well."),
    "create": LazyCommand("datasets.create:create", "Make a dataset, with an empty first version."),
    "dag": LazyCommand("stages.graph:dag", "Draw the stages of a project."),
    "demo": LazyCommand("mounts.demo:demo", "Show it all on a store of this machine, with real files."),
    "diff": LazyCommand(
        "history.diff:diff", "List what differs between versions, or commits of git.", "project.changes:diff"
    ),
    "discard": LazyCommand("mounts.discard:discard_", "Give up what was changed in a mount."),
    "doctor": LazyCommand("storage.doctor:doctor", "Check what this machine and a bucket permit."),
    "download": LazyCommand("packages.copies:download", "Write the files of a version into a directory."),
    "export": LazyCommand("packages.export:export", "Write a table of the entries of a version."),
    "exporter": LazyCommand("operation.exporter:exporter", "Serve metrics of all mounts to Prometheus."),
    "fetch": LazyCommand("project.exchange:fetch", "Fetch what a project tracks, and check nothing out."),
    "find": LazyCommand("packages.find:find", "List files by their metadata."),
    "gc": LazyCommand("storage.gc:gc", "Delete from a bucket what no version needs.", "project.changes:gc"),
    "get": LazyCommand("project.imports:get", "Copy what another repository's project tracks."),
    "hash": LazyCommand("datasets.push:hash_", "Print the top hash that a directory would have."),
    "import": LazyCommand("project.imports:import_", "Track what another repository's project tracks."),
    "import-dvc": LazyCommand("project.import_dvc:import_dvc", "Take over a project of DVC."),
    "import-hf": LazyCommand("datasets.import_hf:import_hf", "Make a data set of Hugging Face a version."),
    "import-quilt": LazyCommand("datasets.import_quilt:import_quilt", "Make a package of quilt a dataset."),
    "index": LazyCommand("catalogue.rows:index", "Make data rows of images, videos and DICOM files."),
    "info": LazyCommand("packages.browse:info", "Tell what a version is."),
    "init": LazyCommand("project.begin:init", "Make a git repository a project, which tracks data."),
    "job": LazyCommand("catalogue.job:job", "Ask about long work of the catalogue, or end it."),
    "key": LazyCommand("catalogue.key:key", "Make, list and revoke keys of a server."),
    "lineage": LazyCommand("history.lineage:lineage", "Show what a version was made from."),
    "list": LazyCommand("listed:list_", "List datasets of a bucket, or what a repository offers."),
    "log": LazyCommand("history.log:log_", "Show the versions that led to one."),
    "ls": LazyCommand("packages.browse:ls", "List a directory of a version, or the datasets of a bucket."),
    "merge": LazyCommand("history.merge:merge", "Merge a version into a branch."),
    "merge-parts": LazyCommand("datasets.parts:merge_parts", "Make one version of the parts of a push."),
    "merge-pointer": LazyCommand("project.changes:merge_pointer", "Join what two branches did to tracked data."),
    "meta": LazyCommand("datasets.meta:meta", "Read and set metadata of files, directories and datasets."),
    "metrics": LazyCommand("stages.values:metrics", "Show metrics of stages, and what differs."),
    "mount": LazyCommand("mounts.mount:mount_", "Show a version as a read-only directory."),
    "mounts": LazyCommand("mounts.mount:mounts", "List what is mounted."),
    "overlay": LazyCommand("mounts.overlay:overlay", "Check what was changed in a mount, or rescue it."),
    "package": LazyCommand("packages.package:package", "Build a package step by step, or install one."),
    "params": LazyCommand("stages.values:params", "Tell how parameters of stages differ."),
    "plots": LazyCommand("stages.plots:plots", "Draw tables that stages made."),
    "pull": LazyCommand("project.exchange:pull", "Fetch what a project tracks, and check it out."),
    "push": LazyCommand(
        "datasets.push:push_", "Make a directory a version, or send what is tracked.", "project.exchange:push"
    ),
    "refresh": LazyCommand("mounts.refresh:refresh_", "Move a mount to the newest version."),
    "remote": LazyCommand("storage.remote:remote", "Give buckets names: add, list, remove."),
    "reencode": LazyCommand("catalogue.work:reencode", "Make videos that every browser shows frame by frame."),
    "register": LazyCommand("catalogue.work:register", "Make data rows of objects where they lie."),
    "repro": LazyCommand("stages.run:repro", "Run the stages that a change reaches."),
    "reset": LazyCommand("history.rollback:reset", "Let a branch stand at another version."),
    "restart": LazyCommand("operation.restart:restart_", "Have the Penstock that is installed now serve mounts."),
    "revert": LazyCommand("history.rollback:revert", "Undo what one version changed, in a new one."),
    "run": LazyCommand("stages.run:run", "Add a stage, and run it."),
    "rows": LazyCommand("catalogue.rows:rows", "List the data rows of a dataset."),
    "sample": LazyCommand("datasets.sample:sample", "Make some of the files of a version a dataset."),
    "serve": LazyCommand("catalogue.serve:serve_", "Serve the catalogue of buckets over HTTP."),
    "show": LazyCommand("history.show:show", "Show one version, and what it changed."),
    "split": LazyCommand("datasets.sample:split", "Divide the files of a version among new datasets."),
    "stage": LazyCommand("stages.definition:stage", "Add stages, or list them."),
    "stat": LazyCommand("mounts.stat:stat_", "Tell what a path in a mount is."),
    "status": LazyCommand(
        "mounts.status:status", "Tell how a mount is doing, or what is tracked.", "project.tracked:status"
    ),
    "sync": LazyCommand("packages.copies:sync", "Have a directory hold what a version holds."),
    "tag": LazyCommand("history.branches:tag", "List tags, or give a version one."),
    "top": LazyCommand("operation.top:top", "Show what all mounts are doing."),
    "trust": LazyCommand("project.begin:trust", "Say that a project may reach and run what it names."),
    "umount": LazyCommand("mounts.mount:umount", "Unmount what Penstock has mounted."),
    "update": LazyCommand("project.imports:update", "Bring imports to what their branches have now."),
    "upload": LazyCommand("catalogue.rows:upload", "Add videos and images to a dataset."),
    "validate": LazyCommand("packages.find:validate", "Tell what in a version is not as it should be."),
    "verify": LazyCommand("storage.verify:verify_", "Check a version in its bucket, or a directory against it."),
    "warm": LazyCommand("storage.warm:warm_", "Fetch a version into the cache before it is read."),
}


_WORDS = {
    "clone": "penstock mount DATASET DIR shows a dataset as files, penstock download DATASET DIR copies them",
    "cp": "penstock download DATASET DIR copies files here, penstock push DIR DATASET sends them",
    "ls-remote": "penstock branch DATASET and penstock tag DATASET list what there is",
    "mv": "files are moved in a writable mount: penstock mount -w DATASET DIR",
    "rm": "files are removed in a writable mount: penstock mount -w DATASET DIR",
    "unmount": "it is penstock umount DIR",
    "upload": "penstock push DIR DATASET makes a directory a version",
}
"""Commands of other tools, and what is typed here."""


class Root(LazyGroup):
    """The group whose `main` maps every exception to an exit code, for the real process and for tests alike."""

    def __init__(self, *args: Any, program: str = "penstock", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.program = program

    def main(  # type: ignore[override]  # click overloads it by standalone_mode; here a run always ends the process
        self, args: Sequence[str] | None = None, **_: Any
    ) -> NoReturn:
        """Run `args`, by default the process's, and raise SystemExit with the code."""
        arguments = list(sys.argv[1:] if args is None else args)
        if arguments[:1] == ["help"]:
            arguments = [*arguments[1:], "--help"]
        # Looked up before parsing: what parsing finds wrong is to be told in JSON too.
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        invocation = Invocation(json="--json" in options)
        waits = ExitStack()
        if can_draw(sys.stderr) and not invocation.json and not {"-q", "--quiet"} & set(options):
            waits.enter_context(wait_line(sys.stderr))
        try:
            with waits, self.make_context(self.program, arguments, obj=invocation) as context:
                self.invoke(context)
            code: int = ExitCode.OK
        except click.exceptions.Exit as ended:
            code = ended.exit_code
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last place that can tell the user
            code = _report(error, invocation)
        sys.exit(_flushed(code, invocation))


@click.group(
    cls=Root,
    lazy=_COMMANDS,
    words=_WORDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    examples=(
        "penstock remote add demo file:///srv/store",
        "penstock push ./photos demo/photos",
        "penstock mount demo/photos /mnt/photos",
    ),
)
@click.version_option(__version__, message="penstock %(version)s")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Read and write settings there, not in the user's configuration folder.",
)
@pass_invocation
@click.pass_context
def root(context: click.Context, invocation: Invocation, config: Path | None) -> None:
    """Mount versions of datasets that live in object storage as plain files."""
    invocation.config = config
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """Run the command line of this process."""
    run(root)


def run(group: click.Command) -> NoReturn:
    """Run a group of commands as this process, and end it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by whoever started this process (`>&-`): what is written there is meant for nobody.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # stays open to the end
        else:
            # A name that the terminal's encoding lacks is shown escaped, not answered by a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        group.main()
    finally:
        # From here on threads are joined and files closed: a second Ctrl-C ends that without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _report(error: BaseException, invocation: Invocation) -> int:
    """Tell the user about `error`; return the exit code."""
    code, form = describe(error)
    to_people = not invocation.json
    try:
        if to_people and invocation.verbose >= (1 if code is ExitCode.INTERNAL else 2):
            traceback.print_exception(error)
        elif code is ExitCode.INTERNAL:
            form = _with_place(form, save_traceback(error))
        if form.what:
            invocation.output.failure(form)
    except BrokenPipeError:
        _drop(sys.stderr)
    return code


def _with_place(form: ErrorForm, path: Path | None) -> ErrorForm:
    place = str(path) if path else "run it again with -v to see it"
    return msgspec.structs.replace(form, fix=f"{form.fix}: {place}")


def _flushed(code: int, invocation: Invocation) -> int:
    """Write out what is buffered, while a failure to do so can still be told; return the exit code."""
    try:
        invocation.output.finish()
    except (BrokenPipeError, AccessError) as error:
        _drop(sys.stdout)
        return _report(error, invocation) if code == ExitCode.OK else code
    return code


def _drop(stream: Any) -> None:
    """Send what `stream` still holds nowhere: the interpreter flushes it once more, and complains aloud."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

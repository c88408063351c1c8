"""The command line's entry, and the one place where a run ends.

`main` is what `entry` runs, the console script; `root` is the group, which tests run in process. Whatever happens in a
command leaves here as an exit code and, when there is something to say, as a message: `exits` decides which. A new
command is one line in `command_table`, and a file in the room of its subject.
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

from .command_classes import LazyGroup
from .command_table import COMMANDS, WORDS
from .exits import ExitCode, describe, save_traceback
from .invocation import Invocation, pass_invocation
from .waiting import can_draw, wait_line

__all__ = ["Root", "main", "root", "run"]


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
    lazy=COMMANDS,
    words=WORDS,
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
    help="Use this settings file instead of the default one.",
)
@pass_invocation
@click.pass_context
def root(context: click.Context, invocation: Invocation, config: Path | None) -> None:
    """Version datasets in object storage, and mount them as plain files."""
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

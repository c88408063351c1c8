"""What git's hooks call, once sh has seen that there is something to do.

No command of the group: nothing is parsed for people here, and without what that loads a hook starts in half the time.
Git's own output stays as it is: all that is said goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from penstock.cli.output import Output
from penstock.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from penstock.project.commits.declared_repository import DeclaredRepository

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Do what belongs to the hook that the first argument names, and end the process."""
    name, *rest = sys.argv[1:] if arguments is None else arguments
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a stream of this process
    output = Output(False, sys.stdout, sys.stderr)
    try:
        _WORK[name](output, rest)
        code = 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # `describe` says what it is to the user
        from penstock.cli.exits import describe

        code, form = describe(error)
        if form.what:
            output.failure(form)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stderr.flush()
    sys.exit(code)


@contextmanager
def _opened(output: Output) -> Iterator[DeclaredRepository]:
    from penstock.api.settings import Settings
    from penstock.project.commits.declared_repository import open_repository

    with (
        ProgressDisplay(sys.stderr) as progress,
        open_repository(".", Settings.load(), output.notice, progress) as repository,
    ):
        yield repository


def _before(output: Output, _: Sequence[str]) -> None:
    from penstock.project.commits.commit_versions import CommitVersions

    from .made_lines import made_lines

    with _opened(output) as repository:
        for line in made_lines(CommitVersions(repository).prepare()):
            output.notice(line)


def _after(output: Output, _: Sequence[str]) -> None:
    from penstock.project.commits.work_tree import follow

    with _opened(output) as repository:
        follow(repository)


def _rewrite(output: Output, rest: Sequence[str]) -> None:
    from penstock.project.commits.commit_versions import CommitVersions
    from penstock.project.commits.work_tree import follow

    with _opened(output) as repository:
        pairs = [each for line in sys.stdin if len(each := line.split()[:2]) == 2]
        amended = list(rest[:1]) == ["amend"]
        CommitVersions(repository).rewritten([(each[0], each[1]) for each in pairs], amended=amended)
        follow(repository)


def _push(output: Output, rest: Sequence[str]) -> None:
    from penstock.project.commits.pushed_data import PushedRef, push_commits

    refs = []
    for line in sys.stdin:
        told = line.split()
        if len(told) == 4 and set(told[1]) != {"0"}:  # else a ref is deleted
            branch = told[2].removeprefix("refs/heads/") if told[2].startswith("refs/heads/") else None
            refs.append(PushedRef(told[1], branch, told[3] if set(told[3]) != {"0"} else None))
    if not refs:  # git sends nothing: it is up to date, or refuses what would not move forward
        return
    with _opened(output) as repository:
        for line in push_commits(repository, rest[0] if rest else "origin", refs):
            output.notice(line)


_WORK = {"before": _before, "after": _after, "rewrite": _rewrite, "push": _push}


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _WORK:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} {{{'|'.join(_WORK)}}}")
    main()

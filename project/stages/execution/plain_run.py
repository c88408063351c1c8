"""One run of an ordinary stage: what was there goes aside, the command runs, what it made is checked and kept.

`prepare` and `complete` belong to the thread that decides; `work` to another one; `stop` is called by anybody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.errors import PenstockError, UsageError
from penstock.project.stages.definition.lock_file import MadeOutput
from penstock.project.stages.definition.stage import Stage
from penstock.project.stages.findings.inputs import refuse_links

from .command import Ended, StageCommand
from .outputs import OutputStore
from .shelf import Shelf, ShelvedOutputs

__all__ = ["Made", "PlainRun", "StageFailedError", "command_failure", "refuse_tracked", "stage_environment"]


class StageFailedError(PenstockError):
    """The command of a stage failed, or did not make what it should. `left`: where what it made lies now."""

    def __init__(self, what: str, *, why: str = "", fix: str = "", left: str | None = None) -> None:
        super().__init__(what, why=why, fix=fix)
        self.left = left


@dataclass(frozen=True, slots=True)
class Made:
    """What a run made. `kept`: where what the user had changed lies now. `ran` of the `taken` items did run."""

    outputs: Mapping[str, MadeOutput]
    kept: str | None = None
    left_processes: bool = False
    ran: int = 0
    taken: int = 0
    removed: int = 0


class PlainRun:
    """A run of a stage whose command makes all its outputs at once."""

    def __init__(
        self,
        stage: Stage,
        root: str,
        shelf: Shelf,
        outputs: OutputStore,
        tell: Callable[[str], None],
        keep: list[int],
        token: str,
    ) -> None:
        self._stage = stage
        self._root = root
        self._shelf = shelf
        self._outputs = outputs
        self._keep = keep
        self._paths = [stage.placed(path) for path in stage.made]
        self._shelved: ShelvedOutputs | None = None
        self._command = StageCommand(
            stage.command, os.path.join(root, stage.where.folder), stage_environment(stage, root, token), tell
        )

    def prepare(self) -> bool:
        """Move aside what the stage is about to make. True: there is something to run."""
        for path in self._paths:
            refuse_links(self._root, path)
        self._shelved = self._shelf.take(str(self._stage.where), self._paths, self._keep)
        try:
            for path in self._paths:
                os.makedirs(os.path.dirname(os.path.join(self._root, path)), exist_ok=True)
            self._shelved.note_moved()
        except BaseException:
            self._shelved.put_back()
            raise
        return True

    def work(self) -> Ended:
        """Run the command to its end."""
        return self._command.run()

    def stop(self) -> None:
        """Have the command end."""
        self._command.stop()

    def complete(self, ended: Ended) -> Made:
        """Check and keep what the command made. StageFailedError: it failed; what was there before is back."""
        assert self._shelved is not None
        try:
            if ended.code:
                raise command_failure(self._stage, ended.code)
            made = {}
            for path, placed in zip(self._stage.made, self._paths, strict=True):
                self._check(path, placed)
                made[path] = self._outputs.keep(placed)
        except StageFailedError as error:
            error.left = self._shelved.put_back()
            raise
        except BaseException:
            self._shelved.put_back()
            raise
        return Made(made, self._shelved.finish(), ended.left_processes)

    def abandon(self) -> str | None:
        """Put everything back; where what the command made so far lies."""
        return self._shelved.put_back() if self._shelved is not None else None

    def _check(self, path: str, placed: str) -> None:
        try:
            mode = os.lstat(os.path.join(self._root, placed)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise StageFailedError(
                f"stage {str(self._stage.where)!r} did not make {path!r}",
                why="its command ended well, and nothing is there",
                fix="Have it make this path, or take it from the stage's outputs.",
            ) from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no file and no directory"
            raise StageFailedError(
                f"stage {str(self._stage.where)!r} made {kind} at {path!r}",
                why="what it leads to is not what the stage made",
                fix="Have the command write a file or a directory there.",
            )


def command_failure(stage: Stage, code: int, told: str = "") -> StageFailedError:
    """Return the error that says how a command failed."""
    what = f"the command of stage {str(stage.where)!r} failed" + (f", for {told}" if told else "")
    first = stage.command.split()[0] if stage.command.split() else ""
    if code == 127:
        return StageFailedError(
            what,
            why=f"a command in it was not found (exit code 127): {first}",
            fix="Install it, or give its path from the stage's folder. The lines above say what the shell said.",
        )
    if code == 126:
        return StageFailedError(what, why=f"{first} may not be executed (exit code 126)", fix="chmod +x makes it so.")
    why = f"exit code {code}" if code > 0 else f"it was ended by signal {-code}"
    return StageFailedError(what, why=why, fix="What it wrote is above. What was there before is there again.")


def stage_environment(stage: Stage, root: str, token: str) -> dict[str, str]:
    """Return the environment of a stage's commands: the user's own, where they are, and whose (see `at_work`)."""
    return {**os.environ, "PENSTOCK_STAGE": str(stage.where), "PENSTOCK_PROJECT": root, "PENSTOCK_RUN": token}


def refuse_tracked(stage: Stage, tracked: Callable[[str], bool]) -> None:
    """Raise UsageError for an output that git itself tracks."""
    for path in stage.made:
        if tracked(stage.placed(path)):
            raise UsageError(
                f"{path!r}, which stage {str(stage.where)!r} makes, is tracked by git",
                why="git would take what the stage makes for changes of its own",
                fix=f"git rm -r --cached {path}, then commit; Penstock keeps it from then on.",
            )

"""One run of a per-file stage: only inputs that were never processed are, the others' outputs are there or come back.

Outputs are made aside, one after the other, and come into place by one rename(2) each: who reads the directory
meanwhile sees whole files, old or new. What is done is not lost when another item fails, or all is stopped: it is kept,
and noted in the run cache, before the failure is told. A journal notes each item as it is done, so that this holds
after kill -9 as well.

    stages/each/COMMAND/journal     what was done since the last note in the run cache
    stages/each/COMMAND/work        where outputs are made

`prepare`, `complete` and `abandon` belong to the thread that decides; `work` and its pool to others.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

from penstock.errors import CancelledError, PenstockError
from penstock.manifest.hashing import ContentHasher
from penstock.project.stages.definition.lock_file import MadeOutput
from penstock.project.stages.definition.stage import Stage
from penstock.project.stages.findings.inputs import refuse_links

from .command import Ended, StageCommand
from .items import Item, ItemPlan, fill_command, make_items, plan_items
from .outputs import OutputStore
from .plain_run import Made, StageFailedError, command_failure, stage_environment
from .runs import MadeItem, RunCache
from .shelf import Shelf, remove

__all__ = ["EachRun", "ItemRunner", "LocalItems"]

_MOST_JOURNAL = 1 << 30
_READ = 1 << 20


class ItemRunner(Protocol):
    """Where the commands of items run."""

    def run(
        self, commands: Iterable[tuple[int, str]], done: Callable[[int, int], bool], tell: Callable[[str], None]
    ) -> None:
        """Run numbered commands; say of each how it ended, until told (by False) that no more are wanted."""
        ...

    def stop(self) -> None:
        """Have all commands end."""
        ...


class LocalItems:
    """Runs commands on this machine, some at once."""

    def __init__(self, directory: str, environment: dict[str, str], jobs: int) -> None:
        self._directory = directory
        self._environment = environment
        self._jobs = jobs
        self._lock = threading.Lock()
        self._running: set[StageCommand] = set()
        self._stopped = False

    def run(
        self, commands: Iterable[tuple[int, str]], done: Callable[[int, int], bool], tell: Callable[[str], None]
    ) -> None:
        """Run them in order, so many at once."""
        with ThreadPoolExecutor(self._jobs, "penstock-stage") as pool:
            waiting: set[Future[bool]] = set()
            try:
                for number, text in commands:
                    waiting.add(pool.submit(self._one, number, text, done, tell))
                    if len(waiting) >= 2 * self._jobs and not self._settled(waiting):
                        return
                while waiting:
                    if not self._settled(waiting):
                        return
            finally:
                for future in waiting:
                    future.cancel()

    def _settled(self, waiting: set[Future[bool]]) -> bool:
        """Wait until some have ended; whether more are wanted."""
        ended, _ = wait(waiting, return_when="FIRST_COMPLETED")
        waiting -= ended
        wanted = [future.result() for future in ended]  # each of them, so that no fault of another is lost
        return all(wanted) and not self._stopped

    def _one(self, number: int, text: str, done: Callable[[int, int], bool], tell: Callable[[str], None]) -> bool:
        command = StageCommand(text, self._directory, self._environment, tell)
        with self._lock:
            if self._stopped:
                return False
            self._running.add(command)
        try:
            ended = command.run()
        finally:
            with self._lock:
                self._running.discard(command)
        return done(number, ended.code) and not self._stopped

    def stop(self) -> None:
        """Have those that run end, and begin no more."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for command in running:
            command.stop()


class EachRun:
    """A run of a per-file stage. `files`: its inputs as they were fingerprinted; `command_key` as `item_command_key`.

    `before`: the version that the stage made last. What is in the directory and is neither of it nor made of an input
    is somebody else's, and is kept when it has to give way.
    """

    def __init__(
        self,
        stage: Stage,
        root: str,
        state: str,
        outputs: OutputStore,
        runs: RunCache,
        shelf: Shelf,
        files: Iterator[tuple[str, bytes]],
        command_key: str,
        before: str | None,
        tell: Callable[[str], None],
        *,
        jobs: int,
        force: bool,
        keep_going: bool,
        token: str,
        runner: Callable[[str, dict[str, str], int], ItemRunner] = LocalItems,
    ) -> None:
        self._stage = stage
        self._root = root
        self._outputs = outputs
        self._runs = runs
        self._shelf = shelf
        self._files = files
        self._key = command_key
        self._before = before
        self._tell = tell
        self._force = force
        self._keep_going = keep_going
        self._folder = os.path.join(root, stage.where.folder)
        self._target = stage.placed(stage.outputs[0])
        self._place = os.path.join(state, "stages", "each", command_key)
        self._runner = runner(self._folder, stage_environment(stage, root, token), jobs)
        self._lock = threading.Lock()
        self._plan = ItemPlan([], [], [], [], [])
        self._made: dict[str, MadeItem] = {}
        self._failure: PenstockError | None = None
        self._groups: list[list[Item]] = []
        self._stopped = False
        self._ran = 0
        self._kept: str | None = None

    def prepare(self) -> bool:
        """Do all that needs no command. True: there is something to run."""
        refuse_links(self._root, self._target)
        target = os.path.join(self._root, self._target)
        if os.path.lexists(target) and not os.path.isdir(target):
            self._kept = self._shelf.to_kept(str(self._stage.where), [self._target])
        os.makedirs(target, exist_ok=True)
        os.makedirs(self._place, mode=0o700, exist_ok=True)
        items = make_items(self._stage, self._files)
        self._outputs.look(self._target)
        there = {each.path: (each.hash.hex(), each.is_executable) for each in self._outputs.files(self._target)}
        noted = self._runs.items(self._key, {item.key for item in items})
        known = {**noted.items, **self._journalled()}
        self._plan = plan = plan_items(items, known, there, force=self._force)
        if self._force:
            self._made = {}
        else:
            self._made = {item.key: known[item.key] for item in (*plan.ready, *plan.skipped)}
        ours = {made.hash for made in known.values()}
        self._remove(plan.remove, there, ours)
        self._take(plan, noted.tops, there, ours)
        groups: dict[str, list[Item]] = defaultdict(list)
        for item in plan.run:
            groups[item.key].append(item)
        self._groups = list(groups.values())
        for item in plan.run:
            self._give_way(item.output, there, ours)
        return bool(self._groups)

    def _remove(self, paths: list[str], there: dict[str, tuple[str, bool]], ours: set[str]) -> None:
        for path in paths:
            self._give_way(path, there, ours, goes=True)

    def _give_way(self, path: str, there: dict[str, tuple[str, bool]], ours: set[str], *, goes: bool = False) -> None:
        """Have a file of the output directory go, or be free to be replaced; what this stage did not make is kept."""
        place = os.path.join(self._root, self._target, path)
        if not os.path.lexists(place):
            return
        known = there.get(path)
        if known is None or not self._is_ours(path, known[0], ours):
            kept = self._shelf.to_kept(str(self._stage.where), [f"{self._target}/{path}"])
            self._kept = self._kept or kept
        elif goes:
            os.unlink(place)
        self._prune(os.path.dirname(place))

    def _is_ours(self, path: str, digest: str, ours: set[str]) -> bool:
        if digest in ours:
            return True
        return self._before is not None and self._outputs.file_hash(self._before, path) == bytes.fromhex(digest)

    def _prune(self, folder: str) -> None:
        """Remove folders that have become empty, below the output directory."""
        top = os.path.join(self._root, self._target)
        while folder != top and folder.startswith(f"{top}/"):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def _take(self, plan: ItemPlan, tops: Iterable[str], there: dict[str, tuple[str, bool]], ours: set[str]) -> None:
        """Bring what earlier runs made into place; an item whose output cannot be had any more has to run."""
        by_top: dict[str, list[tuple[Item, MadeItem]]] = defaultdict(list)
        for item, made in plan.take:
            by_top[made.top].append((item, made))
        plan.run.extend(item for item, _ in by_top.pop("", ()))  # journalled, and not in place any more
        for top in [top for top in by_top if not self._outputs.has_version(top)]:
            # A later version of the output has it too, as long as its input was there.
            for item, made in by_top.pop(top):
                other = next((each for each in tops if each != top and self._holds(each, made)), None)
                if other is not None:
                    by_top[other].append((item, made._replace(top=other)))
                else:
                    plan.run.append(item)
        for top, pairs in by_top.items():
            work = self._fresh("restore")
            self._outputs.extract(top, frozenset(made.path for _, made in pairs), work)
            uses: dict[str, int] = defaultdict(int)
            for _, made in pairs:
                uses[made.path] += 1
            for item, made in pairs:
                source = os.path.join(work, made.path)
                if not os.path.lexists(source):
                    plan.run.append(item)
                    continue
                self._give_way(item.output, there, ours)
                uses[made.path] -= 1
                self._into_place(source, item.output, last=not uses[made.path])
                self._made[item.key] = made
            remove(work)

    def _holds(self, top: str, made: MadeItem) -> bool:
        return self._outputs.has_version(top) and self._outputs.file_hash(top, made.path) == bytes.fromhex(made.hash)

    def _fresh(self, name: str) -> str:
        work = os.path.join(self._place, name)
        remove(work)
        os.makedirs(work, mode=0o700)
        return work

    def _into_place(self, source: str, path: str, *, last: bool) -> None:
        place = os.path.join(self._root, self._target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not last:
            copy = f"{source}.copy"
            shutil.copy2(source, copy)
            source = copy
        os.replace(source, place)

    # ------------------------------------------------------------------ running

    def work(self) -> Ended:
        """Run the commands of all items that have to."""
        work = self._fresh("work")
        with open(os.path.join(self._place, "journal"), "a", encoding="ascii") as journal:
            self._journal = journal
            self._work = work
            self._runner.run(self._commands(work), self._done, self._tell)
        return Ended(0, left_processes=False)

    def _commands(self, work: str) -> Iterator[tuple[int, str]]:
        for number, group in enumerate(self._groups):
            item = group[0]
            target = os.path.join(work, str(number), os.path.basename(item.output))
            os.mkdir(os.path.dirname(target))
            source = os.path.relpath(os.path.join(self._root, item.input), self._folder)
            yield number, fill_command(self._stage, item, source, os.path.relpath(target, self._folder))

    def _done(self, number: int, code: int) -> bool:
        """Take what the command of an item made; whether more are wanted."""
        group = self._groups[number]
        place = os.path.join(self._work, str(number), os.path.basename(group[0].output))
        try:
            made = self._checked(group[0], place, code)
            for at, item in enumerate(group):
                if made.path:
                    self._into_place(place, item.output, last=at == len(group) - 1)
        except (PenstockError, OSError) as error:
            with self._lock:
                if self._failure is None and not self._stopped:
                    self._failure = error if isinstance(error, PenstockError) else _unwritable(error)
            return self._keep_going and not isinstance(error, OSError)
        with self._lock:
            self._ran += 1
            self._made[group[0].key] = made
            self._journal.write(json.dumps([group[0].key, *made[1:]]) + "\n")
            self._journal.flush()
        shutil.rmtree(os.path.dirname(place), ignore_errors=True)
        return True

    def _checked(self, item: Item, place: str, code: int) -> MadeItem:
        if code:
            raise command_failure(self._stage, code, repr(item.input))
        try:
            facts = os.lstat(place)
        except FileNotFoundError:
            if self._stage.may_skip:
                return MadeItem("", "", "", is_executable=False)
            raise StageFailedError(
                f"stage {str(self._stage.where)!r} made nothing of {item.input!r}",
                why="its command ended well, and did not write {output}",
                fix="If that is meant, --may-skip (may_skip = true) says so.",
            ) from None
        if not stat.S_ISREG(facts.st_mode):
            raise StageFailedError(
                f"stage {str(self._stage.where)!r} made no file of {item.input!r}",
                why="a per-file stage makes one file of each",
                fix="Have it write a file, or make this an ordinary stage.",
            )
        return MadeItem("", item.output, _hash_of(place), bool(facts.st_mode & stat.S_IXUSR))

    def stop(self) -> None:
        """Have the commands end; what is done stays done."""
        self._stopped = True
        self._runner.stop()

    # ------------------------------------------------------------------ the end

    def complete(self, ended: Ended) -> Made:
        """Keep what is there now, and note it. StageFailedError: an item failed; all others are kept all the same."""
        output = self._settle()
        if self._failure is not None:
            raise self._failure
        if self._stopped:
            raise CancelledError("it was stopped")
        plan = self._plan
        return Made(
            {self._stage.outputs[0]: output},
            self._kept,
            ended.left_processes,
            ran=self._ran,
            taken=len(plan.take),
            removed=len(plan.remove),
        )

    def abandon(self) -> str | None:
        """Keep what was done so far."""
        self._settle()
        return None

    def _settle(self) -> MadeOutput:
        output = self._outputs.keep(self._target)
        new = []
        for key, made in self._made.items():
            if not made.top:
                new.append((key, made._replace(top=output.hash)))
        self._runs.note_items(self._key, output.hash, new)
        remove(self._place)
        return output

    def _journalled(self) -> dict[str, MadeItem]:
        """Return what a run that died had done; what is in place still has to be what it says."""
        done = {}
        try:
            with open(os.path.join(self._place, "journal"), encoding="ascii") as journal:
                if os.fstat(journal.fileno()).st_size > _MOST_JOURNAL:
                    return {}
                for line in journal:
                    try:
                        key, path, digest, executable = json.loads(line)
                    except ValueError:  # the last line, cut off
                        continue
                    done[key] = MadeItem("", path, digest, bool(executable))
        except FileNotFoundError:
            pass
        return done


def _hash_of(path: str) -> str:
    hasher = ContentHasher()
    with open(path, "rb") as file:
        while data := file.read(_READ):
            hasher.update(data)
    return hasher.finish()[0].hex()


def _unwritable(error: OSError) -> StageFailedError:
    return StageFailedError(
        "what a stage made cannot be put into place",
        why=f"{error.strerror or error}: {error.filename or ''}",
        fix="Make room, or give yourself access; what is done is kept.",
    )

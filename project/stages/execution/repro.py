"""Bring stages up to date: what is stale runs, in order, several at once where the graph allows.

A stage is looked at when all that it needs is up to date: what came out the same reaches no further. It is then up to
date; or only what it made is missing, and comes back from where it is kept; or the same run is in the run cache; or it
runs.

One thread decides, hashes, keeps and writes locks: the one that calls `Repro.run`. Commands run in others. Ctrl-C comes
up in the first: commands are stopped, what was moved aside goes back, and the exception goes on its way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal, Protocol

from penstock.errors import NotFoundError, PenstockError
from penstock.project.project import Project, is_tracked_by_git
from penstock.project.stages.definition.lock_file import Fingerprint, LockedStage, MadeOutput
from penstock.project.stages.definition.pipeline import Pipeline
from penstock.project.stages.definition.stage import Stage, StageName
from penstock.project.stages.findings.documents import MOST_BYTES, Value, canonical, parse_document, value_at
from penstock.project.stages.findings.inputs import Inputs, refuse_links
from penstock.project.stages.findings.run_key import command_hash, item_command_key, run_key
from penstock.project.stages.findings.staleness import Reason, StageFacts, only_outputs, reasons

from .command import Ended
from .each_run import EachRun, ItemRunner, LocalItems
from .outputs import OutputStore
from .plain_run import Made, PlainRun, StageFailedError, refuse_tracked
from .runs import RunCache
from .shelf import Shelf

__all__ = ["Outcome", "Repro", "ReproOptions", "StageResult", "Told", "look_at"]

Outcome = Literal[
    "up to date", "ran", "restored", "taken", "failed", "skipped", "would run", "may run", "would be restored"
]


@dataclass(frozen=True, slots=True)
class ReproOptions:
    """What a user asks for. `jobs` stages at once, `item_jobs` items of per-file stages; `force` the named ones."""

    jobs: int = 1
    item_jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    dry: bool = False
    force: bool = False
    keep_going: bool = False
    pull: bool = False


@dataclass(frozen=True, slots=True)
class StageResult:
    """What became of a stage, and why. Of per-file stages: items that ran, that were taken, and outputs removed.

    `kept`: where what the user had changed lies; `left`: where what a failed run made lies.
    """

    name: StageName
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0
    ran: int = 0
    taken: int = 0
    removed: int = 0
    kept: str | None = None
    left: str | None = None
    notes: tuple[str, ...] = ()
    error: PenstockError | None = None


class Told(Protocol):
    """Who is told how it goes. `line` is called in any thread."""

    def begins(self, stage: Stage, why: tuple[Reason, ...], /) -> None:
        """Hear that a stage is about to run."""
        ...

    def line(self, name: StageName, text: str, /) -> None:
        """Hear a line that a command of a stage wrote."""
        ...

    def ended(self, result: StageResult, /) -> None:
        """Hear what became of a stage."""
        ...


class _Run(Protocol):
    def prepare(self) -> bool: ...
    def work(self) -> Ended: ...
    def stop(self) -> None: ...
    def complete(self, ended: Ended, /) -> Made: ...
    def abandon(self) -> str | None: ...


@dataclass(slots=True)
class _Running:
    stage: Stage
    state: StageFacts
    why: tuple[Reason, ...]
    run: _Run
    began: float


def look_at(stage: Stage, root: str, inputs: Inputs, outputs: OutputStore, locked: LockedStage | None) -> StageFacts:
    """Return what a stage finds now. IntegrityError: a file of parameters cannot be read."""
    dependencies = {path: inputs.fingerprint(stage.placed(path)) for path in stage.read}
    made: dict[str, MadeOutput | None] = {}
    before = locked.outputs if locked is not None else {}
    for path in stage.made:
        refuse_links(root, stage.placed(path))
        made[path] = outputs.look(stage.placed(path), before.get(path))
    return StageFacts(dependencies, parameters_of(stage, root), made)


def parameters_of(stage: Stage, root: str) -> dict[str, str | None]:
    """Return the parameters of a stage as canonical text; None: there is no such file, or no such key."""
    from penstock.project.project_file import read_bounded

    documents: dict[str, Value] = {}
    found: dict[str, str | None] = {}
    for name in stage.parameters:
        path, _, key = name.rpartition(":")
        placed = stage.placed(path)
        if placed not in documents:
            refuse_links(root, placed)
            body = read_bounded(os.path.join(root, placed), MOST_BYTES)
            if body is None:
                found[name] = None
                continue
            documents[placed] = parse_document(body, placed)
        try:
            found[name] = canonical(value_at(documents[placed], key, path))
        except NotFoundError:
            found[name] = None
    return found


class Repro:
    """One run over some stages.

    `absent` gives tracked paths that paths and patterns lead to, and that are not here; `pull` brings one.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inputs: Inputs,
        outputs: OutputStore,
        runs: RunCache,
        shelf: Shelf,
        told: Told,
        options: ReproOptions,
        *,
        state: str,
        token: str = "",
        absent: Callable[[Collection[str]], list[str]] = lambda _: [],
        pull: Callable[[str], None] = lambda _: None,
        runner: Callable[[str, dict[str, str], int], ItemRunner] = LocalItems,
    ) -> None:
        self._pipeline = pipeline
        self._project: Project = pipeline.project
        self._root = pipeline.project.root
        self._inputs = inputs
        self._outputs = outputs
        self._runs = runs
        self._shelf = shelf
        self._told = told
        self._options = options
        self._state = state
        self._token = token
        self._absent = absent
        self._pull = pull
        self._runner = runner
        self._results: dict[StageName, StageResult] = {}

    def run(self, chosen: Collection[StageName], forced: Collection[StageName] = ()) -> list[StageResult]:
        """Bring the chosen stages up to date; `forced` run whatever is so. A failure is a result, not an exception."""
        graph = self._pipeline.graph
        waiting = graph.order(chosen)
        running: dict[Future[Ended], _Running] = {}
        with ThreadPoolExecutor(max(1, self._options.jobs), "penstock-stage") as pool:
            try:
                while waiting or running:
                    for name in list(waiting):
                        if len(running) >= self._options.jobs:
                            break
                        above = graph.above[name] & set(chosen)
                        if any(each not in self._results for each in above):
                            continue
                        waiting.remove(name)
                        begun = self._begin(graph.stages[name], above, force=name in forced)
                        if begun is not None:
                            running[pool.submit(begun.run.work)] = begun
                    if running:
                        ended, _ = wait(running, return_when=FIRST_COMPLETED)
                        for future in ended:
                            self._end(running.pop(future), future)
            except BaseException:
                self._abandon(running)
                raise
        return [self._results[name] for name in graph.order(chosen)]

    def _note(self, result: StageResult) -> None:
        self._results[result.name] = result
        self._told.ended(result)

    def _is_over(self) -> bool:
        return not self._options.keep_going and any(each.outcome == "failed" for each in self._results.values())

    def _begin(self, stage: Stage, above: Collection[StageName], *, force: bool) -> _Running | None:
        """Settle a stage without running it, or return its run."""
        name = stage.where
        bad = sorted(each for each in above if self._results[each].outcome in {"failed", "skipped"})
        if bad or self._is_over():
            why = f"stage {bad[0]} was not brought up to date" if bad else "another stage failed"
            self._note(StageResult(name, "skipped", (Reason("upstream", str(bad[0]) if bad else "", why),)))
            return None
        try:
            return self._decide(stage, above, force=force)
        except PenstockError as error:
            self._note(StageResult(name, "failed", error=error))
            return None

    def _decide(self, stage: Stage, above: Collection[StageName], *, force: bool) -> _Running | None:
        from penstock.project.project_trust import require_trust

        locked = self._pipeline.locked(stage.where)
        state = look_at(stage, self._root, self._inputs, self._outputs, locked)
        found = tuple(reasons(stage, state, locked))
        if force:
            found = found or (Reason("command", stage.where.name, "it was asked for"),)
        if self._options.dry:
            self._note(self._predicted(stage, above, found))
            return None
        if not found:
            self._note(StageResult(stage.where, "up to date"))
            return None
        if (
            not force
            and only_outputs(list(found))
            and locked is not None
            and self._restore(stage, state, locked, found)
        ):
            return None
        require_trust(self._project, f"the command of stage {str(stage.where)!r}")
        state = self._whole(stage, state)
        if self._project.git is not None:
            refuse_tracked(stage, lambda path: is_tracked_by_git(self._project, path))
        dependencies, parameters = _given(state)
        key = run_key(stage, dependencies, parameters)
        if not force and not stage.each and self._take(stage, state, key, locked, found):
            return None
        self._told.begins(stage, found)
        run = self._run_of(stage, state, locked, item_command_key(stage, dependencies, parameters))
        running = _Running(stage, state, found, run, time.monotonic())
        if run.prepare():
            return running
        self._complete(running, Ended(0, left_processes=False))
        return None

    def _predicted(self, stage: Stage, above: Collection[StageName], found: tuple[Reason, ...]) -> StageResult:
        moving = sorted(each for each in above if self._results[each].outcome in {"would run", "may run"})
        if found and only_outputs(list(found)):
            return StageResult(stage.where, "would be restored", found)
        missing = [each for each in found if each.kind != "output"]
        if missing and not (moving and all(each.text.endswith("is not there") for each in missing)):
            return StageResult(stage.where, "would run", found)
        if moving:
            why = Reason("upstream", str(moving[0]), f"if {moving[0]} makes something else")
            return StageResult(stage.where, "may run", (*found, why))
        return StageResult(stage.where, "would run" if found else "up to date", found)

    def _whole(self, stage: Stage, state: StageFacts) -> StageFacts:
        """Return the state with all dependencies and parameters there. NotFoundError: one is not."""
        absent = self._absent([stage.placed(path) for path in stage.read])
        if absent and self._options.pull:
            for path in absent:
                self._pull(path)
            self._inputs.forget()
            absent = [path for path in absent if not os.path.lexists(os.path.join(self._root, path))]
            state = look_at(stage, self._root, self._inputs, self._outputs, self._pipeline.locked(stage.where))
        if absent:  # with a part of what a pattern leads to, something else would come out
            raise NotFoundError(
                f"stage {str(stage.where)!r} needs {absent[0]!r}, which is tracked and not here",
                why="this clone does not have that data yet",
                fix="penstock pull brings it; repro --pull does so for what is needed.",
            )
        missing = [path for path, each in state.dependencies.items() if each is None]
        if missing:
            raise NotFoundError(
                f"stage {str(stage.where)!r} needs {missing[0]!r}, which is not there",
                why="it may be misspelt; nothing that is tracked is called so",
                fix="Make it, or mend the stage.",
            )
        for name, value in state.parameters.items():
            if value is None:
                path, _, key = name.rpartition(":")
                raise NotFoundError(
                    f"stage {str(stage.where)!r} needs parameter {name!r}, which is not there",
                    fix=f"Write {key!r} into {path}, or mend the stage.",
                )
        return state

    def _restore(self, stage: Stage, state: StageFacts, locked: LockedStage, found: tuple[Reason, ...]) -> bool:
        """Put back what the lock says, where all of it can be had."""
        wanted = {path: locked.outputs[path] for path in stage.made if state.outputs[path] != locked.outputs[path]}
        if not all(self._outputs.has(each) for each in wanted.values()):
            return False
        kept = self._place(stage, wanted)
        self._note(StageResult(stage.where, "restored", found, kept=kept))
        return True

    def _take(
        self, stage: Stage, state: StageFacts, key: str, locked: LockedStage | None, found: tuple[Reason, ...]
    ) -> bool:
        """Put in place what the run cache says that this run makes, where all of it can be had."""
        known = self._runs.find(key)
        if known is None or set(known) != set(stage.made) or not all(map(self._outputs.has, known.values())):
            return False
        wanted = {path: each for path, each in known.items() if state.outputs[path] != each}
        kept = self._place(stage, wanted, self._edited(stage, state, locked))
        self._lock(stage, state, key, known)
        self._note(StageResult(stage.where, "taken", found, kept=kept))
        return True

    def _edited(self, stage: Stage, state: StageFacts, locked: LockedStage | None) -> list[str]:
        """Return the outputs that are not what the stage has made, but somebody's own."""
        before = locked.outputs if locked is not None else {}
        return [path for path in stage.made if state.outputs[path] not in (None, before.get(path))]

    def _place(self, stage: Stage, wanted: dict[str, MadeOutput], edited: Collection[str] | None = None) -> str | None:
        """Put outputs where they belong; `edited` ones (all, by default) that have to give way are kept."""
        paths = list(wanted)
        keep = [at for at, path in enumerate(paths) if edited is None or path in edited]
        shelved = self._shelf.take(str(stage.where), [stage.placed(path) for path in paths], keep)
        try:
            for path, output in wanted.items():
                place = os.path.join(self._root, stage.placed(path))
                os.makedirs(os.path.dirname(place), exist_ok=True)
                self._outputs.place(stage.placed(path), output)
        except BaseException:
            shelved.note_moved()
            shelved.put_back()
            raise
        self._inputs.forget()
        return shelved.finish()

    def _run_of(self, stage: Stage, state: StageFacts, locked: LockedStage | None, command_key: str) -> _Run:
        def tell(text: str) -> None:
            self._told.line(stage.where, text)

        edited = self._edited(stage, state, locked)
        if not stage.each:
            keep = [at for at, path in enumerate(stage.made) if path in edited]
            return PlainRun(stage, self._root, self._shelf, self._outputs, tell, keep, self._token)
        before = locked.outputs.get(stage.outputs[0]) if locked is not None else None
        return EachRun(
            stage,
            self._root,
            self._state,
            self._outputs,
            self._runs,
            self._shelf,
            self._each_files(stage),
            command_key,
            before.hash if before is not None else None,
            tell,
            jobs=self._options.item_jobs,
            force=self._options.force,
            keep_going=self._options.keep_going,
            token=self._token,
            runner=self._runner,
        )

    def _each_files(self, stage: Stage) -> Iterator[tuple[str, bytes]]:
        for each in self._inputs.files(stage.placed(stage.each)):
            yield each.path, each.hash

    def _end(self, running: _Running, future: Future[Ended]) -> None:
        try:
            ended = future.result()
        except (PenstockError, OSError) as error:
            left = running.run.abandon()
            told = (
                error
                if isinstance(error, PenstockError)
                else StageFailedError("the command cannot run", why=str(error))
            )
            self._fail(running, told, left)
            return
        self._complete(running, ended)

    def _complete(self, running: _Running, ended: Ended) -> None:
        stage = running.stage
        self._inputs.forget()
        try:
            made = running.run.complete(ended)
        except PenstockError as error:
            self._fail(running, error, getattr(error, "left", None))
            return
        notes = ["processes that its command left were ended"] if made.left_processes else []
        dependencies, parameters = _given(running.state)
        changed = [path for path in stage.read if self._inputs.fingerprint(stage.placed(path)) != dependencies[path]]
        key = run_key(stage, dependencies, parameters)
        if changed:
            notes.append(f"{changed[0]} changed while it ran: what it made is of before, perhaps of both")
        elif not stage.each:
            self._runs.note(key, made.outputs)
        self._lock(stage, running.state, key, made.outputs)
        self._note(
            StageResult(
                stage.where,
                "ran" if made.ran or not stage.each else "taken",
                running.why,
                time.monotonic() - running.began,
                made.ran,
                made.taken,
                made.removed,
                kept=made.kept,
                notes=tuple(notes),
            )
        )

    def _fail(self, running: _Running, error: PenstockError, left: str | None) -> None:
        seconds = time.monotonic() - running.began
        self._note(StageResult(running.stage.where, "failed", running.why, seconds, left=left, error=error))

    def _lock(self, stage: Stage, state: StageFacts, key: str, outputs: object) -> None:
        assert isinstance(outputs, dict)
        dependencies, parameters = _given(state)
        self._pipeline.lock(stage.where, LockedStage(key, command_hash(stage), dependencies, parameters, outputs))

    def _abandon(self, running: dict[Future[Ended], _Running]) -> None:
        """Stop what runs, wait for it, and put back what was moved aside. A second Ctrl-C leaves commands no time."""
        for each in running.values():
            each.run.stop()
        left = set(running)
        while left:
            try:
                _, left = wait(left)
            except KeyboardInterrupt:
                for each in running.values():
                    each.run.stop()
        for each in running.values():
            each.run.abandon()


def _given(state: StageFacts) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    dependencies = {path: each for path, each in state.dependencies.items() if each is not None}
    parameters = {name: each for name, each in state.parameters.items() if each is not None}
    return dependencies, parameters

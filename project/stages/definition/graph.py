"""Which stage needs what of which: edges by paths, checked as a whole. Pure.

A stage depends on another when it reads what that one makes, something in it, or a directory with it inside; a pattern
is taken for all that it may stand for, whatever lies there now.

**Invariant:** a `Graph` has no cycle, and no two outputs of it share a path.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.errors import AmbiguousError, ConflictError, NotFoundError, UsageError

from .path_patterns import fixed_part, is_pattern, may_touch
from .stage import Stage, StageName

__all__ = ["Graph", "make_graph", "overlaps"]


@dataclass(frozen=True, slots=True)
class Graph:
    """All stages of a project, with those that each one needs first (`above`), and that need it (`below`)."""

    stages: Mapping[StageName, Stage]
    above: Mapping[StageName, frozenset[StageName]]
    below: Mapping[StageName, frozenset[StageName]]
    makers: Mapping[str, StageName] = field(repr=False)
    """Which stage makes a path, from the project's root."""

    def order(self, chosen: Collection[StageName] | None = None) -> list[StageName]:
        """Return stages, by default all, each behind those it needs; among equals by name."""
        meant = set(self.stages if chosen is None else chosen)
        left = {name: len(self.above[name] & meant) for name in meant}
        ready = [name for name, count in left.items() if not count]
        heapq.heapify(ready)
        ordered = []
        while ready:
            name = heapq.heappop(ready)
            ordered.append(name)
            for other in self.below[name] & meant:
                left[other] -= 1
                if not left[other]:
                    heapq.heappush(ready, other)
        return ordered

    def with_all_above(self, names: Iterable[StageName]) -> set[StageName]:
        """Return some stages and all that they need, at any remove."""
        return self._reached(names, self.above)

    def with_all_below(self, names: Iterable[StageName]) -> set[StageName]:
        """Return some stages and all that need them, at any remove."""
        return self._reached(names, self.below)

    def _reached(self, names: Iterable[StageName], edges: Mapping[StageName, frozenset[StageName]]) -> set[StageName]:
        reached = set(names)
        waiting = list(reached)
        while waiting:
            for other in edges[waiting.pop()] - reached:
                reached.add(other)
                waiting.append(other)
        return reached

    def find(self, target: str, folder: str) -> list[StageName]:
        """Return the stages that a word means, said in a folder: a stage's name, FOLDER:NAME, an output, a folder.

        NotFoundError: none. AmbiguousError: stages of several folders have this name.
        """
        within, _, name = target.rpartition(":")
        if name and (exact := StageName(within or folder, name)) in self.stages:
            return [exact]
        named = [each for each in self.stages if each.name == target]
        if len(named) > 1:
            raise AmbiguousError(
                f"{len(named)} stages are called {target!r}",
                candidates=sorted(map(str, named)),
                fix="Say the folder too: FOLDER:NAME.",
            )
        if named:
            return named
        placed = _joined(folder, target)
        if (maker := self.makers.get(placed)) is not None:
            return [maker]
        if found := [each for each in self.stages if _is_within(each.folder, placed)]:
            return sorted(found)
        raise NotFoundError(
            f"there is no stage {target!r}",
            why=f"stages are {', '.join(map(str, sorted(self.stages)[:10])) or 'none yet'}",
            fix="`penstock dag` shows them; `penstock stage add` makes one.",
        )


def make_graph(stages: Iterable[Stage]) -> Graph:
    """Return the graph of stages. ConflictError: outputs overlap. UsageError: there is a cycle, which is named."""
    known = {stage.where: stage for stage in stages}
    makers = _makers(known.values())
    above: dict[StageName, set[StageName]] = {name: set() for name in known}
    below: dict[StageName, set[StageName]] = {name: set() for name in known}
    index = _PathIndex(makers)
    for stage in known.values():
        read = [stage.placed(path) for path in stage.read]
        read += [stage.placed(each.rpartition(":")[0]) for each in stage.parameters]
        for path in read:
            for maker in index.touched(path):
                above[stage.where].add(maker)
                below[maker].add(stage.where)
    graph = Graph(known, _frozen(above), _frozen(below), makers)
    ordered = graph.order()
    if len(ordered) < len(known):
        circle = " -> ".join(map(str, _circle(above, set(known) - set(ordered))))
        raise UsageError(
            f"stages need each other: {circle}",
            why="each of them reads what the next one makes, so none can run first",
            fix="Take one of these dependencies away.",
        )
    return graph


def _frozen(edges: dict[StageName, set[StageName]]) -> dict[StageName, frozenset[StageName]]:
    return {name: frozenset(others) for name, others in edges.items()}


def _makers(stages: Iterable[Stage]) -> dict[str, StageName]:
    makers: dict[str, StageName] = {}
    for stage in stages:
        for path in stage.made:
            placed = stage.placed(path)
            if placed in makers:
                raise _overlap(placed, makers[placed], placed, stage.where)
            makers[placed] = stage.where
    if pair := overlaps(makers):
        outer, inner = pair
        raise _overlap(outer, makers[outer], inner, makers[inner])
    return makers


def overlaps(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return a path and another one that lies in it, if there are such."""
    known = set(paths)
    for path in sorted(known):
        above = path
        while above := above.rpartition("/")[0]:
            if above in known:
                return above, path
    return None


def _overlap(outer: str, maker: StageName, inner: str, other: StageName) -> ConflictError:
    same = outer == inner
    who = f"stage {str(maker)!r} twice" if maker == other else f"stages {str(maker)!r} and {str(other)!r}"
    return ConflictError(
        f"{outer!r} is made by {who}" if same else f"{inner!r} and {outer!r} overlap: made by {who}",
        why="what one makes would be removed, or changed, by the other",
        fix="Have each make a path of its own.",
    )


class _PathIndex:
    """Outputs by path, so that a dependency is held against those near it and not against all."""

    def __init__(self, makers: Mapping[str, StageName]) -> None:
        self._makers = makers
        self._within: dict[str, list[str]] = defaultdict(list)
        for path in makers:
            for above in _and_above(path):
                self._within[above].append(path)

    def touched(self, path: str) -> Iterator[StageName]:
        fixed = fixed_part(path)
        for above in _and_above(fixed):
            if above in self._makers:
                yield self._makers[above]
        for inner in self._within[fixed] if fixed else self._makers:
            if not is_pattern(path) or may_touch(path, inner):
                yield self._makers[inner]


def _and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _joined(folder: str, path: str) -> str:
    import posixpath

    whole = posixpath.normpath(posixpath.join(folder, path))
    return "" if whole == "." else whole


def _is_within(folder: str, above: str) -> bool:
    return not above or folder == above or folder.startswith(above + "/")


def _circle(above: Mapping[StageName, Collection[StageName]], among: set[StageName]) -> list[StageName]:
    """Return one circle among stages that no order was found for: each of them has one above it that is too."""
    path: list[StageName] = []
    # What is only below a circle has one above it too, and leads into it: from there on the walk goes round.
    at = min(among)
    while at not in path:
        path.append(at)
        at = min(each for each in above[at] if each in among)
    return [*path[path.index(at) :], at]

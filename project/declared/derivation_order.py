"""The order in which derived fields can be made: each after those that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["CircleError", "in_order"]


class CircleError(Exception):
    """Fields that are made of each other; `names` goes around once, ending where it began."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(" -> ".join(names))
        self.names = tuple(names)


def in_order(inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names so that each follows its inputs among them; else as given. CircleError: there is none."""
    order: list[str] = []
    done: set[str] = set()
    for first in inputs:
        path: list[str] = []
        _visit(first, inputs, path, done, order)
    return order


def _visit(name: str, inputs: Mapping[str, Sequence[str]], path: list[str], done: set[str], order: list[str]) -> None:
    if name in done or name not in inputs:
        return
    if name in path:
        raise CircleError([*path[path.index(name) :], name])
    path.append(name)
    for each in inputs[name]:
        _visit(each, inputs, path, done, order)
    path.pop()
    done.add(name)
    order.append(name)

"""How a user's function is called: it gets what it names, and what it returns is held against what it promises.

A function knows nothing of Penstock. By the names of its parameters it is given what there is for a row: directories,
the row's id, columns. One that takes a single positional argument of another name is given what the caller says
stands for all of it. A return annotation that is a TypedDict says which names it returns.

    def resample(input_dir, output_dir): ...
    def resample(input_dir, output_dir, *, id, label): ...
    def resample(directory): ...

Pure; plans can be pickled.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.errors import UsageError

__all__ = ["CallPlan", "Promise", "plan_call", "promise_of"]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Which values a function is called with: those named, all of them (it has ``**``), or one that stands for all."""

    names: tuple[str, ...]
    positional: tuple[str, ...] = ()
    takes_all: bool = False

    def call(self, fn: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """Call a function with what it names of `values`."""
        names = [name for name in values if name not in self.positional] if self.takes_all else self.names
        return fn(*(values[name] for name in self.positional), **{name: values[name] for name in names})


def plan_call(fn: Callable[..., Any], offered: Collection[str], sole: str) -> CallPlan:
    """Decide how a function is called with values that are `offered` by name.

    `sole` is what a function gets that takes one argument, whatever it calls it. UsageError: it names what there is
    not.
    """
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # written in C
        return CallPlan((), (sole,))
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    needed = [each for each in named if each.default is each.empty]
    alone = [each for each in needed if each.kind is not each.KEYWORD_ONLY]
    positional: tuple[str, ...] = ()
    if len(alone) == 1 and alone[0].name not in offered:
        positional = (sole,)
        needed.remove(alone[0])
    for each in needed:
        if each.name not in offered or each.kind is each.POSITIONAL_ONLY:
            raise UsageError(
                f"the function {_called(fn)} takes {each.name!r}, and there is nothing of that name",
                why=f"it is given what it names of {', '.join(sorted(offered))}",
                fix="Rename the parameter, give it a default, or add a column of that name.",
            )
    return CallPlan(
        tuple(each.name for each in named if each.name in offered and each.kind is not each.POSITIONAL_ONLY),
        positional,
        any(each.kind is each.VAR_KEYWORD for each in parameters),
    )


@dataclass(frozen=True, slots=True)
class Promise:
    """The names that a function says it returns: those it must, and those it may."""

    required: frozenset[str]
    optional: frozenset[str]

    def check(self, returned: Mapping[str, Any]) -> None:
        """Raise UsageError unless these are the names."""
        if missing := sorted(self.required - returned.keys()):
            raise UsageError(
                f"the function returned no {missing[0]!r}",
                why=f"its TypedDict has {', '.join(sorted(self.required | self.optional))}",
                fix="Return what the TypedDict says, or change it.",
            )
        if extra := sorted(map(str, returned.keys() - self.required - self.optional)):
            raise UsageError(
                f"the function returned {extra[0]!r}, which its TypedDict does not have",
                why=f"it has {', '.join(sorted(self.required | self.optional))}",
                fix="Return what the TypedDict says, or change it.",
            )


def promise_of(fn: Callable[..., Any]) -> Promise | None:
    """Return what a function's annotation promises; None where it is no TypedDict, or cannot be resolved here."""
    try:
        kind = typing.get_type_hints(fn).get("return")
    except (NameError, TypeError, AttributeError):
        return None
    if kind is None or not typing.is_typeddict(kind):
        return None
    # Where annotations are text (`from __future__ import annotations`), the sets that it has itself miss NotRequired.
    said = {name: typing.get_origin(hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()}
    optional = {name for name in said if said[name] is typing.NotRequired}
    optional |= {name for name in kind.__optional_keys__ if said[name] is not typing.Required}
    return Promise(frozenset(said.keys() - optional), frozenset(optional))


def _called(fn: Callable[..., Any]) -> str:
    return f"{getattr(fn, '__qualname__', type(fn).__qualname__)}()"

"""Metrics and parameters of a project, as they are or were, and what differs between two revisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from penstock.errors import NotFoundError
from penstock.project.stages.findings.documents import Value, numbers, value_at

from .revisions import ProjectRevision

__all__ = ["ValueDifference", "differences", "metrics_of", "parameters_of"]

Values = Mapping[str, Mapping[str, Value]]
"""Values by file and dotted key."""


class ValueDifference(NamedTuple):
    """A value that differs: `change` is how much larger the new one is, where both are numbers."""

    file: str
    key: str
    old: Value
    new: Value
    change: float | None


def metrics_of(revision: ProjectRevision, files: Iterable[str] = ()) -> dict[str, dict[str, Value]]:
    """Return the metrics of a revision, of all stages or of some files; a file that is not there is left out."""
    wanted = list(files) or [stage.placed(path) for stage in revision.stages for path in stage.metrics]
    found = {}
    for path in dict.fromkeys(wanted):
        body = revision.document(path)
        if body is not None:
            found[path] = dict(numbers(body))
    return found


def parameters_of(revision: ProjectRevision) -> dict[str, dict[str, Value]]:
    """Return the parameters that stages of a revision depend on."""
    found: dict[str, dict[str, Value]] = {}
    documents: dict[str, Value] = {}
    for stage in revision.stages:
        for name in stage.parameters:
            file, _, key = name.rpartition(":")
            path = stage.placed(file)
            if path not in documents:
                documents[path] = revision.document(path)
            if documents[path] is None:
                continue
            try:
                value = value_at(documents[path], key, path)
            except NotFoundError:
                continue
            for inner, each in numbers(value, key):
                found.setdefault(path, {})[inner] = each
    return found


def differences(old: Values, new: Values, *, every: bool = False) -> list[ValueDifference]:
    """Return what differs from old to new; with `every`, also what is equal."""
    found = []
    for file in sorted({*old, *new}):
        before, after = old.get(file, {}), new.get(file, {})
        for key in sorted({*before, *after}):
            one, two = before.get(key), after.get(key)
            if every or one != two or (key in before) != (key in after):
                found.append(ValueDifference(file, key, one, two, _change(one, two)))
    return found


def _change(old: Value, new: Value) -> float | None:
    if isinstance(old, bool) or isinstance(new, bool):
        return None
    return new - old if isinstance(old, int | float) and isinstance(new, int | float) else None

"""`filter(prefix, **conditions)`: the plain questions, by keyword arguments in place of an expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .expression import same
from .query_record import Record, field_of

__all__ = ["conditions"]


def conditions(prefix: str = "", /, **wanted: Any) -> Callable[[Record], bool]:
    """Return what is true for records below a path whose fields are as wanted.

    `prefix` ends at a slash: ``train`` is ``train/…``, not ``training/…``. A value is equal to the field's; of several,
    in a list, tuple or set, one is, or the field is that list; a function is asked. ``a__b`` is the field ``a.b``.
    """
    below = prefix.strip("/") + "/" if prefix.strip("/") else ""
    tests = [(tuple(name.split("__")), _test(value)) for name, value in wanted.items()]

    def holds(record: Record) -> bool:
        if below and not record.path.startswith(below) and record.path != below[:-1]:
            return False
        return all(test(field_of(record, names)) for names, test in tests)

    return holds


def _test(value: Any) -> Callable[[Any], bool]:
    if callable(value):
        return lambda found: bool(value(found))
    if isinstance(value, set | frozenset | list | tuple):
        among: Sequence[Any] = list(value)
        return lambda found: same(found, among) or any(same(found, each) for each in among)
    return lambda found: same(found, value)

"""Enumerations that print as they are written in a program."""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["ShownEnum", "ShownNumber"]


class ShownEnum(StrEnum):
    """Text with a name, which prints as ``Class.NAME``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    __str__ = __repr__


class ShownNumber(IntEnum):
    """A number with a name, which prints as ``Class.NAME``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    __str__ = __repr__

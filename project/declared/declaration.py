"""What a file says of its datasets: fields, where records come from, and what is made of them. Immutable values.

A `Declaration` is one class. Its fields are its annotations; its methods are ingests, derived fields, checks, or
actions on rows. Nothing here has seen any code run: `declared_source` reads it from text.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

__all__ = ["NAME", "Declaration", "Field", "FieldKind", "FieldType", "Method", "Parameter", "Role"]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
"""What fields can be called: a folder and a column have the name."""


class FieldKind(enum.StrEnum):
    """What a field holds: a file, or a value that is a column alone."""

    FILE = "file"
    STR = "str"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    ENUM = "enum"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a field. `formats`: the names of file types that it takes; `choices`: the values of an enumeration.

    `enumeration` is the name of the class that the values are members of, empty for a ``Literal``.
    """

    kind: FieldKind
    formats: tuple[str, ...] = ()
    choices: tuple[str | int, ...] = ()
    enumeration: str = ""
    optional: bool = False

    @property
    def is_file(self) -> bool:
        """Whether there is a folder for it."""
        return self.kind is FieldKind.FILE

    def __str__(self) -> str:
        if self.is_file:
            said = f"File[{' | '.join(self.formats)}]"
        elif self.kind is FieldKind.ENUM:
            said = self.enumeration or f"Literal[{', '.join(map(repr, self.choices))}]"
        else:
            said = "JSON" if self.kind is FieldKind.JSON else str(self.kind)
        return f"{said} | None" if self.optional else said


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its name. `was`: what it was called before; `line`: where it is said, 0 when it is a method's."""

    name: str
    type: FieldType
    line: int = 0
    was: str = ""


class Role(enum.StrEnum):
    """What a method does: brings records, makes a field of them, refuses bad ones, drops or changes rows."""

    INGEST = "ingest"
    DERIVED = "derived"
    CHECK = "check"
    DELETE = "delete"
    ALTER = "alter"


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a method asks for by name; `has_default`: it may go without."""

    name: str
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the class. `type` is of what it returns, None for those that return nothing to keep.

    `alters` names the field that a row action changes. `digest` is the hash of all that its result is made by, as far
    as text tells: see `code_hash`. `version`: the author's own word for that, which then counts alone.
    """

    name: str
    role: Role
    parameters: tuple[Parameter, ...] = ()
    type: FieldType | None = None
    line: int = 0
    was: str = ""
    alters: str = ""
    version: str | None = None
    digest: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the fields that it is given."""
        return tuple(each.name for each in self.parameters)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One dataset, as the class at `line` of `file` says. `name` is the dataset's, `table` the class's own.

    `methods` made of others come after them.
    """

    file: str
    line: int
    table: str
    name: str
    remote: str | None
    title: str
    description: str
    was: str
    fields: tuple[Field, ...]
    methods: tuple[Method, ...]

    @property
    def columns(self) -> tuple[Field, ...]:
        """All fields, those that methods make behind the others."""
        made = (
            Field(each.name, each.type, 0, each.was) for each in self.of_role(Role.DERIVED) if each.type is not None
        )
        return (*self.fields, *made)

    def of_role(self, role: Role) -> tuple[Method, ...]:
        """Return the methods that do this, in the order in which they can run."""
        return tuple(each for each in self.methods if each.role is role)

    def column(self, name: str) -> Field | None:
        """Return a field by its name; None: there is none."""
        return next((each for each in self.columns if each.name == name), None)

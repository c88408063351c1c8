"""What a version says of its dataset: fields and their types, and by which code its records were made.

Kept in the metadata of the version, under ``declared``, beside ``title`` and ``description``. Pure.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import FormatTooNewError, IntegrityError, UsageError
from penstock.project.declared.complaint import DeclarationError
from penstock.project.declared.declaration import NAME, Declaration, Field, FieldKind, FieldType, Role

__all__ = ["Schema", "SchemaField", "check_inputs", "convert", "read_schema", "renames", "schema_of", "write_schema"]

_FORMAT = 1


class SchemaField(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field as a version has it: see `FieldType`."""

    name: str
    kind: FieldKind
    formats: tuple[str, ...] = ()
    choices: tuple[str | int, ...] = ()
    optional: bool = False

    @property
    def type(self) -> FieldType:
        """The type."""
        return FieldType(self.kind, self.formats, self.choices, optional=self.optional)

    @property
    def is_file(self) -> bool:
        """Whether it has a folder."""
        return self.kind is FieldKind.FILE


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a version was made by. `ingests`, `methods`: the hash of the code of each, by name."""

    format: int
    table: str
    fields: tuple[SchemaField, ...]
    ingests: dict[str, str] = {}
    methods: dict[str, str] = {}

    def field(self, name: str) -> SchemaField | None:
        """Return a field by its name."""
        return next((each for each in self.fields if each.name == name), None)


def schema_of(declaration: Declaration) -> Schema:
    """Return what a version says that was made by a declaration, all of it."""
    fields = tuple(
        SchemaField(each.name, each.type.kind, each.type.formats, each.type.choices, each.type.optional)
        for each in declaration.columns
    )
    return Schema(
        _FORMAT,
        declaration.table,
        fields,
        {each.name: each.digest for each in declaration.methods if each.role is Role.INGEST},
        {each.name: each.digest for each in declaration.methods if each.role is not Role.INGEST},
    )


def write_schema(schema: Schema, title: str, description: str) -> dict[str, Any]:
    """Return a version's metadata."""
    said = {name: text for name, text in (("title", title), ("description", description)) if text}
    return {**said, "declared": msgspec.to_builtins(schema)}


def read_schema(metadata: Mapping[str, Any]) -> Schema:
    """Return what a version's metadata says. IntegrityError: it is no version of a dataset as code."""
    found = metadata.get("declared")
    number = found.get("format") if isinstance(found, dict) else None
    if isinstance(number, int) and number > _FORMAT:
        raise FormatTooNewError(
            f"a dataset as code of format {number}", why=f"this Penstock reads {_FORMAT}", fix="Upgrade Penstock."
        )
    try:
        schema = msgspec.convert(found, Schema)
    except msgspec.ValidationError as error:
        raise IntegrityError("the version is of no dataset as code", why=str(error)) from error
    for name in (schema.table, *(each.name for each in schema.fields)):
        if not NAME.fullmatch(name):  # it becomes a folder
            raise IntegrityError("the version is of no dataset as code", why=f"{name[:80]!r} can be no field of one")
    return schema


def renames(declaration: Declaration, before: Schema) -> dict[str, str]:
    """Return the fields that have another name now: the old name, and the new one.

    A `was` stays in the file for as long as its author likes: where the old field is gone, it means nothing.
    """
    found: dict[str, str] = {}
    for each in declaration.columns:
        if each.was and before.field(each.was) is not None and before.field(each.name) is None:
            if declaration.column(each.was) is not None:
                raise DeclarationError(
                    declaration.file,
                    each.line or declaration.line,
                    f"{each.name} was {each.was}, which is there still",
                    fix=f"Remove the field {each.was}, or the was().",
                )
            found[each.was] = each.name
    return found


def check_inputs(declaration: Declaration, before: Schema | None) -> frozenset[str]:
    """Return the derived fields whose inputs are gone: what was made stays, and nothing more is made.

    DeclarationError: a method asks for what is no field and never was one.
    """
    known = {each.name for each in declaration.columns} | {"id"}
    gone: set[str] = set()
    for method in declaration.methods:
        if method.role is Role.INGEST:
            continue
        missing = [each.name for each in method.parameters if each.name not in known and not each.has_default]
        if not missing:
            continue
        if method.role is Role.DERIVED and before is not None and before.field(method.name) is not None:
            gone.add(method.name)
            continue
        raise DeclarationError(
            declaration.file,
            method.line,
            f"{method.name} asks for {missing[0]}, which is no field",
            why=f"there are {', '.join(sorted(known - {'id'}))}",
            fix="Rename the parameter, or give it a default.",
        )
    return frozenset(gone)


def convert(value: Any, field: Field | SchemaField) -> Any:
    """Return a value that is no file as its field takes it: what JSON can say. UsageError: it does not fit.

    Nothing is made of something else than it is, but for a whole number where a float is wanted.
    """
    kind = field.type
    if value is None:
        if kind.optional:
            return None
        raise UsageError(f"{field.name} has no value", fix=f"Return one, or declare it {kind} | None.")
    converted = _convert(value, kind)
    if converted is _NO:
        raise UsageError(
            f"{field.name} is {kind}, and the value is {_shown(value)}",
            why=f"that is {type(value).__name__}"
            if kind.kind is not FieldKind.ENUM
            else f"it is one of {kind.choices!r}",
            fix="Return what the field is, or change its type.",
        )
    return converted


_NO = object()


def _convert(value: Any, kind: FieldType) -> Any:
    match kind.kind:
        case FieldKind.STR:
            return value if isinstance(value, str) and _is_text(value) else _NO
        case FieldKind.BOOL:
            return value if isinstance(value, bool) else _NO
        case FieldKind.INT:
            return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else _NO
        case FieldKind.FLOAT:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return float(value) if is_number and abs(value) <= 1.7976931348623157e308 else _NO
        case FieldKind.DATETIME:
            return _moment(value)
        case FieldKind.ENUM:
            return value if isinstance(value, str | int) and value in kind.choices else _NO
        case FieldKind.JSON:
            return value
    return _NO


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, str):
        try:
            return dt.datetime.fromisoformat(value).isoformat(sep=" ")
        except ValueError:
            return _NO
    return _NO


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def plain_type(kind: FieldType) -> FieldType:
    """Return a type without what versions do not keep: how its class is called."""
    return dataclasses.replace(kind, enumeration="")

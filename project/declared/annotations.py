"""The types that fields and methods can have, read from annotations."""

from __future__ import annotations

import ast
import dataclasses

from .complaint import DeclarationError
from .declaration import FieldKind, FieldType
from .file_types import FORMATS
from .modules import Module, Modules

__all__ = ["read_type"]

_SCALARS = {
    "str": FieldKind.STR,
    "int": FieldKind.INT,
    "float": FieldKind.FLOAT,
    "bool": FieldKind.BOOL,
    "datetime.datetime": FieldKind.DATETIME,
    "penstock.JSON": FieldKind.JSON,
    "typing.Any": FieldKind.JSON,
    "dict": FieldKind.JSON,
    "list": FieldKind.JSON,
}
_ENUMS = frozenset({"enum.Enum", "enum.StrEnum", "enum.IntEnum"})
_MOST_CHOICES = 10_000
_MOST_STEPS = 8
"""Modules through which an Enum may be imported."""
_FIX = (
    "A field is File[png | jpg], str, int, float, bool, datetime, an Enum, a Literal, or JSON; "
    '"| None" when it may be missing.'
)


def read_type(module: Module, modules: Modules, node: ast.expr) -> FieldType:
    """Return the type that an annotation says; an Enum may be in one of `modules`.

    DeclarationError: it is none of those that a field can have.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            inner = ast.parse(node.value, mode="eval").body
        except SyntaxError as error:
            raise _unreadable(module, node) from error
        return read_type(module, modules, ast.copy_location(inner, node))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union(module, modules, node)
    if isinstance(node, ast.Subscript):
        return _subscript(module, modules, node)
    name = module.resolve(node)
    if name in _SCALARS:
        return FieldType(_SCALARS[name])
    found = _enumeration(*_defined(module, modules, node))
    if found is not None:
        return found
    if name == "penstock.File":
        raise _complaint(
            module, node, "File without a type", "a field says which files it holds", "Write File[png], say."
        )
    raise _unreadable(module, node)


def _union(module: Module, modules: Modules, node: ast.BinOp) -> FieldType:
    for one, other in ((node.left, node.right), (node.right, node.left)):
        if isinstance(other, ast.Constant) and other.value is None:
            return dataclasses.replace(read_type(module, modules, one), optional=True)
    raise _unreadable(module, node)


def _subscript(module: Module, modules: Modules, node: ast.Subscript) -> FieldType:
    name = module.resolve(node.value)
    if name == "penstock.File":
        formats = tuple(dict.fromkeys(_formats(module, node.slice)))
        return FieldType(FieldKind.FILE, formats)
    if name == "typing.Optional":
        return dataclasses.replace(read_type(module, modules, node.slice), optional=True)
    if name == "typing.Literal":
        each = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        values = [found.value for found in each if isinstance(found, ast.Constant)]
        choices = tuple(value for value in values if isinstance(value, str | int))
        if len(choices) == len(each) and choices:
            return FieldType(FieldKind.ENUM, choices=choices)
    if name in ("dict", "list", "typing.Dict", "typing.List"):
        return FieldType(FieldKind.JSON)
    raise _unreadable(module, node)


def _formats(module: Module, node: ast.expr) -> list[str]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_formats(module, node.left), *_formats(module, node.right)]
    if isinstance(node, ast.Tuple) and node.elts:
        return [name for each in node.elts for name in _formats(module, each)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        name = node.value.lower().lstrip(".")
        if name and len(name) <= 16 and name.replace(".", "").isalnum() and name.isascii():
            return [name]
        raise _complaint(
            module,
            node,
            f"{node.value!r} is no file type",
            "a type is what names of files end with",
            'Write File["tar"].',
        )
    name = module.resolve(node).removeprefix("penstock.")
    if name in FORMATS:
        return [name]
    raise _complaint(
        module,
        node,
        f"{ast.unparse(node)} is no file type",
        f"known are {', '.join(FORMATS)}",
        f'Import it from penstock, or write File["{name or "ext"}"] for files that are not looked into.',
    )


def _defined(module: Module, modules: Modules, node: ast.expr) -> tuple[Module, str]:
    """Return the module of the repository in which a name is defined, and what it is called there; empty: none."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        found = module.imports.get(node.value.id)
        there = modules.imported(module, found) if found is not None else None
        return (there[0], node.attr) if there is not None and not there[1] else (module, "")
    name = node.id if isinstance(node, ast.Name) else ""
    for _ in range(_MOST_STEPS):
        found = module.imports.get(name) if name not in module.definitions else None
        there = modules.imported(module, found) if found is not None else None
        if there is None:
            break
        module, name = there
    return module, name


def _enumeration(module: Module, name: str) -> FieldType | None:
    statement = module.definitions[name][-1] if name in module.definitions else None
    if not isinstance(statement, ast.ClassDef) or not _ENUMS.intersection(map(module.resolve, statement.bases)):
        return None
    values: list[str | int] = []
    for each in statement.body:
        if isinstance(each, ast.Assign) and len(each.targets) == 1 and isinstance(each.targets[0], ast.Name):
            member = each.targets[0].id
            if isinstance(each.value, ast.Constant) and isinstance(each.value.value, str | int):
                values.append(each.value.value)
            elif isinstance(each.value, ast.Call) and module.resolve(each.value.func) == "enum.auto":
                is_text = "enum.StrEnum" in map(module.resolve, statement.bases)
                values.append(member.lower() if is_text else len(values) + 1)
            else:
                raise _complaint(
                    module,
                    each,
                    f"the value of {name}.{member} cannot be read",
                    "it is no text or number",
                    "Write it out.",
                )
    if not values or len(values) > _MOST_CHOICES:
        raise _complaint(module, statement, f"{name} has {len(values)} members", f"it takes 1 to {_MOST_CHOICES}", "")
    return FieldType(FieldKind.ENUM, choices=tuple(values), enumeration=name)


def _unreadable(module: Module, node: ast.expr) -> DeclarationError:
    return _complaint(module, node, f"no field can be {ast.unparse(node)}", "it is read without running the file", _FIX)


def _complaint(module: Module, node: ast.expr | ast.stmt, what: str, why: str, fix: str) -> DeclarationError:
    return DeclarationError(module.path, node.lineno, what, why=why, fix=fix)

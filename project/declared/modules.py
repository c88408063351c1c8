"""Modules of the repository as text: what a file imports of them, found and parsed but never imported.

`read(path)` gives the text of a file of the repository by its path from the root, as git has it staged or committed, or
None. What is not found there is a library, and counts by its name alone.
"""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from . import runtime
from .complaint import DeclarationError

__all__ = ["Module", "ModuleText", "Modules", "Read", "parse"]

Read = Callable[[str], bytes | None]
_MOST_BYTES = 4 << 20
_SEVERAL = (ast.If, ast.Try, ast.With, ast.For, ast.While)


@dataclass(frozen=True, slots=True)
class Import:
    """What a name was imported as: a module, or one of its attributes."""

    module: str
    attribute: str = ""
    level: int = 0

    @property
    def dotted(self) -> str:
        """The name in full."""
        return f"{self.module}.{self.attribute}" if self.attribute else self.module


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed file. `imports` by the names that they have there; `definitions`: statements that bind a name."""

    path: str
    tree: ast.Module
    imports: dict[str, Import] = field(default_factory=dict)
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    has_star: bool = False

    def resolve(self, node: ast.expr) -> str:
        """Return the full dotted name that an expression stands for: ``penstock.File``; empty when it is no name."""
        if isinstance(node, ast.Name):
            found = self.imports.get(node.id)
            if found is not None:
                return found.dotted
            is_ours = self.has_star and node.id in runtime.__all__ and node.id not in self.definitions
            return f"penstock.{node.id}" if is_ours else node.id
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""


def parse(path: str, text: bytes) -> Module:
    """Parse a file. DeclarationError: it is no Python, with the line."""
    if len(text) > _MOST_BYTES:
        raise DeclarationError(path, 1, f"a file of {len(text)} bytes", why=f"the most that is read is {_MOST_BYTES}")
    try:
        tree = ast.parse(text, path)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise DeclarationError(
            path, error.lineno or 1, f"syntax error: {error.msg}", why=f"in {line!r}" if line else "", fix="Correct it."
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DeclarationError(path, 1, "cannot be read as Python", why=str(error) or "nested too deep") from error
    imports: dict[str, Import] = {}
    definitions: dict[str, list[ast.stmt]] = {}
    star = False
    for statement in _statements(tree.body):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                name = alias.asname or alias.name.partition(".")[0]
                imports[name] = Import(alias.name if alias.asname else name)
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if alias.name == "*":
                    star = star or statement.module == "penstock"
                else:
                    imports[alias.asname or alias.name] = Import(statement.module or "", alias.name, statement.level)
        else:
            for name in _bound(statement):
                definitions.setdefault(name, []).append(statement)
    return Module(path, tree, imports, definitions, star)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those within ``if`` and ``try`` among them."""
    for statement in body:
        if isinstance(statement, _SEVERAL):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, name, []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)
        else:
            yield statement


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


@dataclass(frozen=True, slots=True)
class ModuleText:
    """A module of the repository: its path from the root, and its text."""

    path: str
    text: bytes


class Modules:
    """The modules of the repository that can be imported from a file: beside it, or at the root."""

    def __init__(self, read: Read, file: str) -> None:
        self._read = read
        self._folders = list(dict.fromkeys([posixpath.dirname(file), ""]))
        self._found: dict[str, Module | None] = {}
        self.texts: dict[str, bytes] = {}

    def find(self, name: str) -> Module | None:
        """Return a module by its dotted name; None: it is a library's. DeclarationError: it cannot be parsed."""
        if name not in self._found:
            self._found[name] = self._look(name)
        return self._found[name]

    def _look(self, name: str) -> Module | None:
        if not name or not all(part.isidentifier() for part in name.split(".")):
            return None
        relative = name.replace(".", "/")
        for folder in self._folders:
            for tail in (f"{relative}.py", f"{relative}/__init__.py"):
                path = posixpath.join(folder, tail)
                text = self._read(path)
                if text is not None:
                    self.texts[path] = text
                    self._keep_packages(folder, relative)
                    return parse(path, text)
        return None

    def _keep_packages(self, folder: str, relative: str) -> None:
        parts = relative.split("/")
        for depth in range(1, len(parts)):
            path = posixpath.join(folder, *parts[:depth], "__init__.py")
            text = self._read(path)
            if text is not None:
                self.texts[path] = text

    def imported(self, module: Module, found: Import) -> tuple[Module, str] | None:
        """Return where something imported is: its module, and its name there, empty for the module itself."""
        dotted = self._absolute(module, found)
        if found.attribute:
            inner = self.find(f"{dotted}.{found.attribute}" if dotted else found.attribute)
            if inner is not None:
                return inner, ""
        outer = self.find(dotted)
        return (outer, found.attribute) if outer is not None else None

    def _absolute(self, module: Module, found: Import) -> str:
        if not found.level:
            return found.module
        folder = posixpath.dirname(module.path)
        for _ in range(found.level - 1):
            folder = posixpath.dirname(folder)
        base = self._folders[0]
        inside = posixpath.relpath(folder, base) if base and (folder + "/").startswith(base + "/") else folder
        names = [each for each in inside.split("/") if each and each != "."]
        return ".".join([*names, *([found.module] if found.module else [])])

    def all_of(self, module: Module) -> dict[str, bytes]:
        """Return the text of each module that one imports, and those import, by path."""
        seen: set[str] = set()
        waiting = [module]
        while waiting:
            each = waiting.pop()
            if each.path in seen:
                continue
            seen.add(each.path)
            for node in ast.walk(each.tree):
                for found in _imports(node):
                    there = self.imported(each, found)
                    if there is not None:
                        waiting.append(there[0])
        return dict(self.texts)


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield Import(node.module or "", "" if alias.name == "*" else alias.name, node.level)

"""What a method's result is made by, as one hash of text: equal when it would do the same.

Hashed is its syntax tree without positions, comments, docstrings and annotations; and, in the same way, all that it
names of its own file and of modules of the repository, and what those name in turn. With a `version`, that alone.

Not seen, so that a change of it makes no other hash: new versions of libraries, which count by the names by which they
are imported; files, databases and the environment that the method reads; what is reached by `getattr` or a registry.
"""

from __future__ import annotations

import ast
import copy

from penstock.manifest.hashing import content_hash

from .modules import Import, Module, Modules

__all__ = ["code_hash"]

_FORM = "penstock declared code 1"
_MARKS = frozenset(f"penstock.{name}" for name in ("ingest", "derived", "was", "delete", "alter", "dataset")) | {
    "staticmethod"
}


def code_hash(
    module: Module, modules: Modules, cls: ast.ClassDef, method: ast.FunctionDef, version: str | None = None
) -> str:
    """Return the hash of a method of a class, in hex. What the method is called does not count."""
    if version is not None:
        return content_hash(f"{_FORM}\nversion {version}".encode()).hex()
    texts = _Texts(modules, cls)
    plain = _plain(module, method)
    assert isinstance(plain, ast.FunctionDef)
    plain.name = "method"
    texts.add(module, "", plain)
    return content_hash("\n".join([_FORM, *texts.parts]).encode("utf-8", "surrogatepass")).hex()


class _Texts:
    """The text of a definition and of all that it names, each once, in the order in which they are met."""

    def __init__(self, modules: Modules, cls: ast.ClassDef) -> None:
        self.parts: list[str] = []
        self._modules = modules
        self._class = cls
        self._seen: set[tuple[str, str]] = set()

    def add(self, module: Module, name: str, node: ast.AST) -> None:
        self.parts.append(f"{name}:\n{ast.unparse(node)}")
        for each in ast.walk(node):
            if (
                isinstance(each, ast.Attribute)
                and isinstance(each.value, ast.Name)
                and each.value.id == self._class.name
            ):
                self._add_own(module, each.attr)
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                self._add_named(module, each.id)
            elif isinstance(each, ast.Import):
                for alias in each.names:
                    self._add_import(module, Import(alias.name))
            elif isinstance(each, ast.ImportFrom):
                for alias in each.names:
                    attribute = "" if alias.name == "*" else alias.name
                    self._add_import(module, Import(each.module or "", attribute, each.level))

    def _add_own(self, module: Module, name: str) -> None:
        if not self._is_new(module.path, f"{self._class.name}.{name}"):
            return
        for statement in self._class.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
                self.add(module, name, _plain(module, statement))

    def _add_named(self, module: Module, name: str) -> None:
        if name in module.imports:
            self._add_import(module, module.imports[name])
        elif name != self._class.name and name in module.definitions and self._is_new(module.path, name):
            for statement in module.definitions[name]:
                self.add(module, name, _plain(module, statement))

    def _add_import(self, module: Module, found: Import) -> None:
        there = self._modules.imported(module, found)
        if there is None:
            if self._is_new("", found.dotted):
                self.parts.append(f"import {found.dotted}")
            return
        other, name = there
        if name and name in other.imports and name not in other.definitions:
            self._add_import(other, other.imports[name])
        elif name:
            self._add_named(other, name)
        elif self._is_new(other.path, "*"):
            self.add(other, other.path, _plain(other, other.tree))

    def _is_new(self, path: str, name: str) -> bool:
        if (path, name) in self._seen:
            return False
        self._seen.add((path, name))
        return True


def _plain(module: Module, node: ast.AST) -> ast.AST:
    plain: ast.AST = _Plain(module).visit(copy.deepcopy(node))
    return ast.fix_missing_locations(plain)


class _Plain(ast.NodeTransformer):
    """Takes out what changes nothing: docstrings, annotations of functions, marks of ours."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
            if each is not None:
                each.annotation = None
        node.decorator_list = [each for each in node.decorator_list if not self._is_mark(each)]
        return self._body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._body(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._body(node)

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> ast.AST:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del node.body[0]
            if not node.body and not isinstance(node, ast.Module):
                node.body.append(ast.Pass())
        return self.generic_visit(node)

    def _is_mark(self, node: ast.expr) -> bool:
        return self._module.resolve(node.func if isinstance(node, ast.Call) else node) in _MARKS

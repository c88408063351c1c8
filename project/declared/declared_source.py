"""From the text of a file to what it declares. Nothing of it is executed or imported: a hostile file is only read.

    read_source("index.py", text, read)  ->  its declarations, and the modules of the repository that it imports

**Invariants.** What is returned holds: no two fields of a name, no field is made of itself. All that is wrong with a
file is a `DeclarationError` with its line. Whether inputs are there is for `dataset_schema` to say.
"""

from __future__ import annotations

import ast
import keyword
from dataclasses import dataclass

from penstock.errors import UsageError
from penstock.repo.settings.handle import check_dataset_name

from .annotations import read_type
from .code_hash import code_hash
from .complaint import DeclarationError
from .declaration import NAME, Declaration, Field, Method, Parameter, Role
from .derivation_order import CircleError, in_order
from .modules import Module, Modules, Read, parse

__all__ = ["DeclaredSource", "read_source"]

_ROLES = {
    "penstock.ingest": Role.INGEST,
    "penstock.derived": Role.DERIVED,
    "penstock.delete": Role.DELETE,
    "penstock.alter": Role.ALTER,
}
_RESERVED = frozenset({"id"})


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """A file, read: its declarations in the order in which they stand there, and all text that it is made of.

    `texts` is what has to lie on disk for the file to run: itself and modules of the repository, by path.
    """

    file: str
    declarations: tuple[Declaration, ...]
    texts: dict[str, bytes]


def read_source(file: str, text: bytes, read: Read) -> DeclaredSource:
    """Read a file; `read` gives others of the repository, by their path from its root.

    DeclarationError: it is no Python, has no dataset, or says something that cannot be.
    """
    module = parse(file, text)
    modules = Modules(read, file)
    found = [
        _Class(module, modules, node, mark).read()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and (mark := _mark_of(module, node, "penstock.dataset")) is not None
    ]
    if not found:
        raise DeclarationError(
            file,
            1,
            "there is no dataset in it",
            why="no class is marked with @dataset",
            fix="Write @dataset() above a class, and: from penstock import dataset, File, png",
        )
    _check_together(file, found)
    return DeclaredSource(file, tuple(found), {**modules.all_of(module), file: text})


def _check_together(file: str, found: list[Declaration]) -> None:
    tables: dict[str, Declaration] = {}
    names: dict[str, Declaration] = {}
    folders: dict[str, Declaration] = {}
    for each in found:
        for seen, name in ((tables, each.table.lower()), (names, each.name)):
            if name in seen:
                raise DeclarationError(
                    file,
                    each.line,
                    f"two datasets are called {each.name}",
                    why=f"the other one stands in line {seen[name].line}",
                    fix='Rename one, or say @dataset(name="…").',
                )
            seen[name] = each
        for field in each.columns:
            if field.type.is_file:
                other = folders.setdefault(field.name.lower(), each)
                if other is not each:
                    raise DeclarationError(
                        file,
                        field.line or each.line,
                        f"{other.table} and {each.table} both have the files {field.name}",
                        why="each field of files is a folder beside the file, and these would be the same one",
                        fix="Rename one of the fields, or move one class to a file in another folder.",
                    )


def _mark_of(module: Module, node: ast.ClassDef | ast.FunctionDef, name: str) -> ast.expr | None:
    for each in node.decorator_list:
        if module.resolve(each.func if isinstance(each, ast.Call) else each) == name:
            return each
    return None


class _Class:
    """Reads one class."""

    def __init__(self, module: Module, modules: Modules, node: ast.ClassDef, mark: ast.expr) -> None:
        self._module = module
        self._modules = modules
        self._node = node
        self._said = self._arguments(mark)

    def read(self) -> Declaration:
        fields: list[Field] = []
        methods: list[Method] = []
        for statement in self._node.body:
            if isinstance(statement, ast.AnnAssign):
                fields.append(self._field(statement))
            elif isinstance(statement, ast.FunctionDef):
                method = self._method(statement)
                if method is not None:
                    methods.append(method)
            elif isinstance(statement, ast.AsyncFunctionDef):
                raise self._complaint(statement, f"{statement.name} is async", "methods are plain functions", "")
            elif isinstance(statement, ast.Assign):
                raise self._complaint(
                    statement,
                    "a value in the class",
                    "a class that declares a dataset has fields and methods",
                    "Write it as a field, with a type, or move it out of the class.",
                )
        docstring = ast.get_docstring(self._node) or ""
        title, _, description = docstring.partition("\n")
        name = self._said.get("name", self._node.name)
        self._check_dataset(name)
        if not NAME.fullmatch(self._node.name):
            raise self._complaint(
                self._node, f"no table can be called {self._node.name}", "a class is a table", "Rename it."
            )
        if not fields:
            raise self._complaint(
                self._node,
                f"{self._node.name} has no fields",
                "a dataset has at least one",
                "Write image: File[png], say.",
            )
        self._check_names(fields, methods)
        return Declaration(
            file=self._module.path,
            line=self._node.lineno,
            table=self._node.name,
            name=name,
            remote=self._said.get("remote"),
            title=self._said.get("title", title.strip()),
            description=description.strip(),
            was=self._was(self._node),
            fields=tuple(fields),
            methods=tuple(self._ordered(methods)),
        )

    def _arguments(self, mark: ast.expr) -> dict[str, str]:
        if not isinstance(mark, ast.Call):
            return {}
        said: dict[str, str] = {}
        given = [("name", each) for each in mark.args] + [(each.arg or "**", each.value) for each in mark.keywords]
        for name, node in given:
            if name not in ("name", "remote", "title") or name in said:
                raise self._complaint(mark, f"@dataset has no {name}", "it takes name, remote and title", "")
            if isinstance(node, ast.Constant) and node.value is None:
                continue
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or not node.value:
                raise self._complaint(
                    node,
                    f"{name} is {ast.unparse(node)}",
                    "it is read without running the file",
                    "Write the text itself.",
                )
            said[name] = node.value
        return said

    def _check_dataset(self, name: str) -> None:
        try:
            check_dataset_name(name)
        except UsageError as error:
            raise self._complaint(self._node, f"no dataset can be called {name!r}", error.reason, "") from error

    def _field(self, node: ast.AnnAssign) -> Field:
        if not isinstance(node.target, ast.Name):
            raise self._complaint(node, "a field that is no name", "", "Write label: str.")
        name = node.target.id
        was = ""
        if node.value is not None:
            was = self._was_of(node.value)
            if not was:
                raise self._complaint(
                    node, f"{name} has a value", "fields have types alone; values come with records", "Leave it out."
                )
        return Field(name, read_type(self._module, self._modules, node.annotation), node.lineno, was)

    def _was_of(self, node: ast.expr) -> str:
        if isinstance(node, ast.Call) and self._module.resolve(node.func) == "penstock.was":
            if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                return node.args[0].value
            raise self._complaint(node, "was() takes one name", "", 'Write was("old").')
        return ""

    def _was(self, node: ast.ClassDef | ast.FunctionDef) -> str:
        return next((name for each in node.decorator_list if (name := self._was_of(each))), "")

    def _method(self, node: ast.FunctionDef) -> Method | None:
        marks = {
            self._module.resolve(each.func if isinstance(each, ast.Call) else each): each
            for each in node.decorator_list
        }
        roles = [role for name, role in _ROLES.items() if name in marks]
        if len(roles) > 1:
            raise self._complaint(node, f"{node.name} is {' and '.join(roles)} at once", "", "Mark it once.")
        if not roles and node.name.startswith("_"):
            return None
        role = roles[0] if roles else (Role.CHECK if _returns_none(node) else Role.DERIVED)
        mark = next((marks[name] for name, each in _ROLES.items() if each is role and name in marks), None)
        version = self._version(mark) if role is Role.DERIVED else None
        made = (
            read_type(self._module, self._modules, node.returns)
            if role in (Role.DERIVED, Role.ALTER) and node.returns
            else None
        )
        if role is Role.DERIVED and made is None:
            raise self._complaint(
                node,
                f"it is not said what {node.name} returns",
                "what a method returns becomes a field, and a field has a type",
                f"Write def {node.name}(…) -> File[png], or -> None for a check.",
            )
        return Method(
            name=node.name,
            role=role,
            parameters=self._parameters(node),
            type=made,
            line=node.lineno,
            was=self._was(node),
            alters=self._alters(mark) if role is Role.ALTER else "",
            version=version,
            digest=code_hash(self._module, self._modules, self._node, node, version),
        )

    def _parameters(self, node: ast.FunctionDef) -> tuple[Parameter, ...]:
        arguments = node.args
        if arguments.vararg is not None or arguments.kwarg is not None:
            raise self._complaint(node, f"{node.name} takes * or **", "parameters name fields", "Name each field.")
        plain = [*arguments.posonlyargs, *arguments.args]
        without = len(plain) - len(arguments.defaults)
        found = [Parameter(each.arg, number >= without) for number, each in enumerate(plain)]
        found += [
            Parameter(each.arg, default is not None)
            for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ]
        if found and found[0].name in ("self", "cls"):
            raise self._complaint(
                node,
                f"{node.name} takes {found[0].name}",
                "a method is called with fields of a record, and there is no object",
                "Leave it out, and name the fields that it needs.",
            )
        return tuple(found)

    def _version(self, mark: ast.expr | None) -> str | None:
        for each in mark.keywords if isinstance(mark, ast.Call) else ():
            if each.arg == "version" and isinstance(each.value, ast.Constant):
                return None if each.value.value is None else str(each.value.value)
            raise self._complaint(
                each.value, f"@derived has no {ast.unparse(each)}", "it takes version=, a text or number", ""
            )
        return None

    def _alters(self, mark: ast.expr | None) -> str:
        given = mark.args if isinstance(mark, ast.Call) else []
        if len(given) == 1 and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
            return given[0].value
        raise self._complaint(mark or self._node, "@alter takes the name of a field", "", 'Write @alter("label").')

    def _check_names(self, fields: list[Field], methods: list[Method]) -> None:
        seen: dict[str, int] = {}
        made = [(each.name, each.line) for each in fields] + [(each.name, each.line) for each in methods]
        for name, line in made:
            if not NAME.fullmatch(name) or keyword.iskeyword(name) or name.lower() in _RESERVED:
                raise DeclarationError(
                    self._module.path,
                    line,
                    f"no field can be called {name}",
                    why="it is a folder and a column"
                    if name.lower() not in _RESERVED
                    else "each record has an id already",
                    fix="Use letters, digits and _, a letter first.",
                )
            if name.lower() in seen:
                raise DeclarationError(
                    self._module.path,
                    line,
                    f"{name} is there twice",
                    why=f"the other one stands in line {seen[name.lower()]}; columns are one, whatever the case",
                    fix="Rename one.",
                )
            seen[name.lower()] = line
        for method in methods:
            if method.alters and method.alters not in {each.name for each in fields}:
                raise self._at(method, f"{method.name} alters {method.alters}, which is no field", "", "Name a field.")
            for each in method.parameters if method.role is Role.INGEST else ():
                if each.name != "done" and not each.has_default:
                    raise self._at(
                        method,
                        f"{method.name} asks for {each.name}",
                        "an ingest has no record whose fields it could be given",
                        "Leave it out. `done` is how many records it had brought when it was cut off.",
                    )

    def _ordered(self, methods: list[Method]) -> list[Method]:
        derived = {each.name: each for each in methods if each.role is Role.DERIVED}
        try:
            order = in_order({name: each.inputs for name, each in derived.items()})
        except CircleError as circle:
            raise self._at(
                derived[circle.names[0]],
                "fields are made of each other",
                str(circle),
                "Let one of them be made of fields alone.",
            ) from circle
        first = [each for each in methods if each.role is not Role.DERIVED]
        return [*first, *(derived[name] for name in order)]

    def _at(self, method: Method, what: str, why: str, fix: str) -> DeclarationError:
        return DeclarationError(self._module.path, method.line, what, why=why, fix=fix)

    def _complaint(self, node: ast.expr | ast.stmt, what: str, why: str, fix: str) -> DeclarationError:
        return DeclarationError(self._module.path, node.lineno, what, why=why, fix=fix)


def _returns_none(node: ast.FunctionDef) -> bool:
    return isinstance(node.returns, ast.Constant) and node.returns.value is None

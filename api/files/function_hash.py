"""What a user's function is, as one hash: equal when it would do the same, another when its code has changed.

Hashed are the function's syntax tree without positions, comments and docstrings, the values of its defaults and of
what it closes over, the constants of its module that it names, and, in the same way, functions and classes of its own
module that it names; then the parameters that the caller gives, and `version`. A name that it has itself does not
count. With `version=` the code is not looked at: the version stands for it, for functions whose changes mean nothing.

Not seen, so that a change of it makes no other hash: new versions of libraries and of other modules (they count by
their name), files and environment that the function reads, globals beyond what it names (what is reached by
`globals()`, `getattr` or a registry), and objects that are no plain data, which count by their type. Where there is no
source, as of functions made by `exec`, the bytecode is hashed, which differs between versions of Python.

Pure but for reading the source; equal in every process and on every machine.
"""

from __future__ import annotations

import ast
import builtins
import enum
import functools
import inspect
import os
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.errors import UsageError
from penstock.manifest.hashing import content_hash

__all__ = ["function_hash", "plain_text"]

_FORM = "penstock function 1"
_DEEPEST = 32


def function_hash(
    fn: Callable[..., Any], parameters: Mapping[str, Any] | None = None, version: str | None = None
) -> bytes:
    """Return the hash of a function with parameters: 32 bytes.

    UsageError: a parameter is no plain data (None, numbers, text, bytes, paths, and lists, sets and mappings of them).
    """
    if parameters is not None and not isinstance(parameters, Mapping):
        raise UsageError(f"a {type(parameters).__name__} gives parameters no names", fix='Write {"size": 64}.')
    given = []
    for name, value in sorted((parameters or {}).items()):
        try:
            given.append(f"{name}={plain_text(value)}")
        except TypeError as error:
            raise UsageError(
                f"the parameter {name!r} is a {type(value).__name__}",
                why="of parameters it has to be seen whether they have changed",
                fix="Give numbers, text, bytes, paths, or lists, sets and mappings of them.",
            ) from error
    code = f"version {version!r} of {_qualified(fn)}" if version is not None else _Code().of(fn)
    return content_hash("\n".join([_FORM, code, *given]).encode("utf-8", "surrogatepass"))


def _qualified(fn: Any) -> str:
    """Return how a function is called, without the module, which is another one where it runs as a script."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__qualname__", type(fn).__qualname__))


def plain_text(value: Any, depth: int = 0) -> str:
    """Write plain data so that equal values give equal text. TypeError: it is none."""
    if depth > _DEEPEST:
        raise TypeError("nested too deep")
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, int | float | complex | str | bytes):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, os.PathLike):
        return f"path:{os.fspath(value)!r}"
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return f"{kind}[{','.join(plain_text(each, depth + 1) for each in value)}]"
    if isinstance(value, set | frozenset):
        return f"set[{','.join(sorted(plain_text(each, depth + 1) for each in value))}]"
    if isinstance(value, Mapping):
        items = sorted(f"{plain_text(key, depth + 1)}:{plain_text(each, depth + 1)}" for key, each in value.items())
        return f"map[{','.join(items)}]"
    raise TypeError(f"{type(value).__name__} is no plain data")


class _Code:
    """The text of functions and classes, each once: what refers to itself is a number."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def of(self, found: Any) -> str:
        if isinstance(found, functools.partial):
            return f"partial({self.of(found.func)};{self._values(found.args)};{self._values(found.keywords)})"
        if isinstance(found, types.MethodType):
            return f"method({self.of(found.__func__)};{self._instance(found.__self__)})"
        wrapped = getattr(found, "__wrapped__", None)  # of functools.wraps: both count, the wrapper by its closure
        if isinstance(found, types.FunctionType | type):
            if id(found) in self._seen:
                return f"#{self._seen[id(found)]}"
            self._seen[id(found)] = len(self._seen)
            body = self._class(found) if isinstance(found, type) else self._function(found)
            return f"{body};{self.of(wrapped)}" if wrapped is not None else body
        if isinstance(getattr(type(found), "__call__", None), types.FunctionType):  # noqa: B004  # which one it is
            return self._instance(found)
        return f"{_name(found)};{self.of(wrapped)}" if wrapped is not None else _name(found)

    def _instance(self, found: Any) -> str:
        """Return what an object counts as that has a function in it: its class, and what it holds."""
        if isinstance(found, type):
            return self.of(found)
        return f"object({self.of(type(found))};{self._values(getattr(found, '__dict__', {}))})"

    def _function(self, fn: types.FunctionType) -> str:
        module = fn.__module__
        parts = [_tree_of(fn) or _bytecode(fn.__code__)]
        parts.append(f"defaults {self._values(fn.__defaults__ or ())} {self._values(fn.__kwdefaults__ or {})}")
        closure = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        for name, cell in sorted(closure.items()):
            try:
                parts.append(f"closure {name} {self._value(cell.cell_contents, module)}")
            except ValueError:  # not filled yet
                parts.append(f"closure {name}")
        for name in sorted(set(_names(fn.__code__))):
            if name in fn.__globals__:
                parts.append(f"global {name} {self._value(fn.__globals__[name], module)}")
            elif hasattr(builtins, name):
                continue
        return "\n".join(parts)

    def _class(self, kind: type) -> str:
        parts = [f"class {','.join(_name(base) for base in kind.__bases__)}"]
        for name, found in sorted(vars(kind).items()):
            plain = found.__func__ if isinstance(found, staticmethod | classmethod) else found
            if isinstance(plain, property):
                parts += [f"property {name} {self.of(each)}" for each in (plain.fget, plain.fset) if each is not None]
            elif isinstance(plain, types.FunctionType):
                parts.append(f"{type(found).__name__} {name} {self.of(plain)}")
            elif not (name.startswith("__") and name.endswith("__")):
                parts.append(f"value {name} {self._value(plain, kind.__module__)}")
        return "\n".join(parts)

    def _value(self, value: Any, module: str | None = None) -> str:
        """Return what a value counts as: plain data by itself, code of the same module by its text, else its name."""
        try:
            return plain_text(value)
        except TypeError:
            pass
        is_code = isinstance(value, types.FunctionType | type | functools.partial | types.MethodType)
        if is_code and (module is None or getattr(value, "__module__", module) == module):
            return self.of(value)
        return _name(value)

    def _values(self, values: Any) -> str:
        if isinstance(values, Mapping):
            return ",".join(f"{name}={self._value(each)}" for name, each in sorted(values.items()))
        return ",".join(map(self._value, values))


def _name(found: Any) -> str:
    if isinstance(found, types.ModuleType):
        return f"module {found.__name__}"
    kind = found if hasattr(found, "__qualname__") else type(found)
    return f"{getattr(kind, '__module__', None)}.{kind.__qualname__}"


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that code and the code within it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _bytecode(code: types.CodeType) -> str:
    constants = [_bytecode(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    return f"bytecode {sys.version_info[:2]} {code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _tree_of(fn: types.FunctionType) -> str | None:
    """Return the syntax tree of a function as text; None where its source is not there, or not only its own."""
    try:
        source = textwrap.dedent(inspect.getsource(fn))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError, IndentationError, ValueError):
        return None
    if fn.__name__ == "<lambda>":
        lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
        return _text(lambdas[0]) if len(lambdas) == 1 else None
    found = tree.body[0] if tree.body else None
    if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    found.name = ""
    for node in ast.walk(found):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return _text(found)


def _text(node: Any) -> str:
    """Write a tree; what is empty is left out, since versions of Python differ in which empty fields there are."""
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_text(value)}"
            for name, value in ast.iter_fields(node)
            if value not in (None, []) or isinstance(node, ast.Constant)
            if name not in ("ctx", "kind", "type_comment", "lineno")
        ]
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    return repr(node)

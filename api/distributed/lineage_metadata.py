"""What outputs say of where they come from: ``derived_from``, in the metadata of each and of the version. Pure.

    of a file        {"key": input, "hash": of what the function saw, "function": hash}
    of the version   {"operation": "transform", "dataset", "address", "path", "top_hash", "commit",
                      "by", "function": {"name", "hash", "version"}, "parameters", "libraries"}

Equal inputs, function and parameters make equal metadata, whoever made it, and in however many processes.
"""

from __future__ import annotations

import dis
import functools
import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.errors import IntegrityError
from penstock.manifest.entry import Metadata
from penstock.manifest.metadata import canonical_json, parse_metadata

__all__ = ["DERIVED", "file_lineage", "libraries_of", "lineage_of", "plain", "source_of"]

DERIVED = "derived_from"


def file_lineage(key: str, digest: bytes, function: bytes) -> bytes:
    """Return the metadata of an output."""
    return canonical_json({DERIVED: {"key": key, "hash": digest.hex(), "function": function.hex()}})


def source_of(metadata: Metadata) -> tuple[str, str] | None:
    """Return key and hash of the input that a file comes from by a transform; None: it is no output of one."""
    if not isinstance(metadata, bytes) or b'"derived_from"' not in metadata:  # an output has little metadata
        return None
    found = lineage_of(metadata)
    key, digest, function = (found.get(name) for name in ("key", "hash", "function"))
    if isinstance(key, str) and isinstance(digest, str) and isinstance(function, str):
        return key, digest
    return None


def lineage_of(metadata: bytes) -> dict[str, Any]:
    """Return what metadata says of where something comes from; nothing, where it says nothing."""
    try:
        found = parse_metadata(metadata).get(DERIVED)
    except IntegrityError:
        return {}
    return found if isinstance(found, dict) else {}


def plain(value: Any) -> Any:
    """Return parameters as metadata can hold them."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=repr)
    fits = isinstance(value, str | bool | float) or value is None
    return value if fits or (isinstance(value, int) and abs(value) < 1 << 63) else str(value)


def libraries_of(fn: Callable[..., Any]) -> dict[str, str]:
    """Return the versions of the libraries that a function names, and of Python."""
    wanted = set(_modules(fn)) - sys.stdlib_module_names - {"penstock", "__main__"}
    by_module = importlib.metadata.packages_distributions() if wanted else {}
    names = {name for module in wanted for name in by_module.get(module, ())}
    found = {name: importlib.metadata.version(name) for name in sorted(names)}
    return {**found, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def _modules(fn: Callable[..., Any]) -> Iterator[str]:
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    if not isinstance(fn, types.FunctionType):
        fn = getattr(type(fn), "__call__", fn)  # noqa: B004  # which one it is
    if not isinstance(fn, types.FunctionType):
        return
    for code in _codes(fn.__code__):
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME":
                yield str(instruction.argval).partition(".")[0]
        for name in code.co_names:
            found = fn.__globals__.get(name)
            module = found.__name__ if isinstance(found, types.ModuleType) else getattr(found, "__module__", None)
            if isinstance(module, str) and module != fn.__module__:
                yield module.partition(".")[0]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)

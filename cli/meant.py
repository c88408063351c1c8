"""Which of two commands with one name is meant: what the arguments are decides.

`status`, `diff`, `push`, `gc` are of mounts, versions, buckets, and of what a project tracks. Asked before either
command's code is imported: nothing here loads more than it has to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

__all__ = ["MEANT"]

_SUFFIX = ".penstock"


def _plain(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are no options. The value of an option may be among them."""
    if "--" in arguments:
        at = arguments.index("--")
        return [each for each in arguments[:at] if not each.startswith("-")] + list(arguments[at + 1 :])
    return [each for each in arguments if not each.startswith("-")]


def _project_root() -> str | None:
    at = os.path.realpath(".")
    while not os.path.lexists(os.path.join(at, "penstock.toml")):
        above = os.path.dirname(at)
        if above == at:
            return None
        at = above
    return at


def _in_project() -> bool:
    return _project_root() is not None


def _in_mount(path: str = ".") -> bool:
    """Whether a path lies in a mount, or unmounted changes of one, and in no project within that."""
    from penstock.api.mounts.place import innermost_place

    place = innermost_place(path)
    root = _project_root()
    return place is not None and (root is None or len(place.directory) >= len(root))


def _is_tracked(path: str) -> bool:
    """Whether a path has a pointer, or a directory of a project has pointers in it somewhere."""
    plain = path.rstrip("/")
    return os.path.isfile(plain + _SUFFIX) and plain != ""


def _status(arguments: Sequence[str]) -> bool:
    named = _plain(arguments)
    if "--metrics" in arguments or "--access-log" in arguments:
        return False
    if not named:
        return not _in_mount()
    return not _in_mount(named[0]) and (_is_tracked(named[0]) or (len(named) == 1 and _holds_tracked(named[0])))


def _holds_tracked(path: str) -> bool:
    """Whether a directory of a project is one with pointers in it; its own mounts are those of a mount."""
    return os.path.isdir(path) and _in_project() and any(name.endswith(_SUFFIX) for name in os.listdir(path))


def _diff(arguments: Sequence[str]) -> bool:
    named = _plain(arguments)
    if not named:
        return not _in_mount()
    first = named[0]
    if ".." in first.strip("./") and "/" not in first.partition("..")[0]:
        return True
    if _is_tracked(first):
        return True
    return "/" not in first and not os.path.isdir(first) and _in_project() and not _in_mount()


def _push(arguments: Sequence[str]) -> bool:
    named = _plain(arguments)
    return len(named) < 2 or all(map(_is_tracked, named)) or named[-1] == _value_of(arguments, "--remote")


def _value_of(arguments: Sequence[str], option: str) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else None


def _gc(arguments: Sequence[str]) -> bool:
    return not _plain(arguments)


MEANT: dict[str, Callable[[Sequence[str]], bool]] = {"diff": _diff, "gc": _gc, "push": _push, "status": _status}
"""By command: whether these arguments are for what a project tracks."""

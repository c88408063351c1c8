"""What files and rows may be called: names become paths below a directory or a prefix, and never lead out of it.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from penstock.errors import UsageError
from penstock.store.keys import is_key

__all__ = ["check_file_name", "check_file_names", "check_named_files", "check_row_id"]

_LONGEST = 255
_RESERVED = ".penstock"
_is_plain = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}").fullmatch  # most names: one call in place of seven


def check_file_name(name: object) -> str:
    """Return a name, ``image.mha`` or ``scans/1/image.mha``. UsageError: no file can have it."""
    if not isinstance(name, str):
        raise UsageError(f"the name {name!r} is a {type(name).__name__}", fix="Name files by text.")
    if _is_plain(name):
        return name
    why = ""
    if name.startswith("/"):
        why = "it is absolute"
    elif "\\" in name:
        why = "a backslash separates folders on other systems"
    elif not is_key(name):
        why = "it is empty, holds '..', '.', an empty part or a control character, or is too long"
    elif any(len(part.encode()) > _LONGEST for part in name.split("/")):
        why = f"a part of it has more than {_LONGEST} bytes"
    elif name.split("/")[0].startswith(_RESERVED):
        why = f"what begins with {_RESERVED} is Penstock's own"
    if why:
        raise UsageError(
            f"no file can be called {name[:120]!r}",
            why=why,
            fix="Name it by a path within the directory, such as 'scans/image.mha'.",
        )
    return name


def check_file_names(names: Iterable[object]) -> None:
    """Check names that are to be in one directory. UsageError: one cannot be, or two of them clash."""
    files = {check_file_name(name) for name in names}
    for name in sorted(name for name in files if "/" in name):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in files:
                raise UsageError(
                    f"{above!r} and {name!r} clash",
                    why="one name would be a file and a directory",
                    fix="Rename one of them.",
                )


def check_named_files(files: object) -> None:
    """Check what says which name each file has. UsageError: it says no names, or none that can be."""
    if not isinstance(files, Mapping):
        raise UsageError(
            f"a {type(files).__name__} does not say what files are called",
            fix='Give a dictionary with their names: {"image.mha": "./image.mha"}.',
        )
    check_file_names(files)


def check_row_id(found: object) -> str:
    """Return an id as text: of text or an integer. UsageError: it cannot be one."""
    if isinstance(found, float) and found.is_integer():  # what pandas makes of integers beside a missing one
        found = int(found)
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if not isinstance(text, str):
        what = "it is missing" if found is None or found != found else f"it is a {type(found).__name__}"
        raise UsageError(f"{found!r} cannot be an id", why=what, fix="Give text or an integer.")
    why = ""
    if "/" in text or "\\" in text:
        why = "it has a slash, and becomes one folder"
    elif not is_key(text) or len(text.encode()) > _LONGEST:
        why = f"it is empty, '.', '..', longer than {_LONGEST} bytes, or holds a control character"
    elif text.startswith(_RESERVED):
        why = f"what begins with {_RESERVED} is Penstock's own"
    if why:
        raise UsageError(f"{text[:120]!r} cannot be an id", why=why, fix="Choose a plain name.")
    return text

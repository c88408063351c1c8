"""What a data set's card says: the YAML at the head of its README.md, as metadata. Also the record of `save_to_disk`.

Both come from elsewhere: sizes are bounded, no YAML tag makes an object, and no alias makes a small text a large value.
Needs ``penstock[hf]``.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from typing import Any, NoReturn

from penstock.errors import UsageError
from penstock.manifest.entry import MAX_METADATA

__all__ = ["read_card", "read_info"]

_FENCE = "---"


def read_card(path: str) -> dict[str, Any]:
    """Return what stands between the two lines of dashes at the head of a file; nothing where there are none.

    UsageError: it is no YAML object, too large, or the extra is not installed.
    """
    text = _read(path)
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return {}
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise _bad(path, "the head of the card has no end")
    try:
        import yaml  # pyright: ignore[reportMissingModuleSource, reportMissingImports]  # an extra
    except ImportError as error:
        raise UsageError(
            "the data set's card cannot be read", why="that takes PyYAML", fix="pip install 'penstock[hf]'"
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # no types
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not taken")
            return super().compose_node(parent, index)

    try:
        found = yaml.load("\n".join(lines[1:end]), Loader)  # noqa: S506  # a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(path, str(error)) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _bad(path, f"its head is a {type(found).__name__}, not an object")
    told = _plain(found)
    assert isinstance(told, dict)
    return told


def read_info(path: str) -> dict[str, Any]:
    """Return a ``dataset_info.json``. UsageError: it is no JSON object, or too large."""
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise _bad(path, str(error)) from error
    if not isinstance(found, dict):
        raise _bad(path, f"it is a {type(found).__name__}, not an object")
    return found


def _read(path: str) -> str:
    with open(path, "rb") as file:
        body = file.read(MAX_METADATA + 1)
    if len(body) > MAX_METADATA:
        body = body[: body.rfind(b"\n") + 1]  # a README may be long: its head comes first
        if not body.startswith(_FENCE.encode()):
            return "" if os.path.basename(path) == "README.md" else _refuse_size(path)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise _bad(path, "it is not UTF-8") from error


def _refuse_size(path: str) -> NoReturn:
    raise _bad(path, f"it has more than {MAX_METADATA} bytes")


def _plain(value: Any) -> Any:
    """Return a value of YAML as one of JSON: dates as text, keys as text, no NaN."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _bad(path: str, why: str) -> UsageError:
    return UsageError(
        f"what {os.path.basename(path)} says cannot be metadata", why=why, fix="Mend the file, and run it again."
    )

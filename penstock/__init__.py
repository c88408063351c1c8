"""Penstock: versions of datasets in object storage, mounted as plain files.

What is public is here, and imported when it is first asked for: `import penstock` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.mountpoint.announce import announce

__version__ = "0.1.0"

__all__ = ["__version__", "announce"]

_HOMES = {"announce": "penstock.mountpoint.announce"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(home), name)
    globals()[name] = found
    return found

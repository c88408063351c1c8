"""What a training job gets of a file, and says of the files that it wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from penstock.api.packages.entry import Entry

__all__ = ["Filter", "Sample"]

Filter = Callable[[Entry], bool] | str
"""What is true for a file that is wanted: a function, or an expression of `penstock.repo.query.expression`."""


class Sample(NamedTuple):
    """One file as a training job gets it: what `decode` made of its bytes, its entry's metadata, its key."""

    data: Any
    metadata: dict[str, Any]
    key: str

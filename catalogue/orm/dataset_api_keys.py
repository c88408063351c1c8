"""Keys of datasets, as programs meet them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from .dataset import DatasetScope

__all__ = ["DatasetAPIKey"]


@dataclass(frozen=True, slots=True)
class DatasetAPIKey:
    """A key that lets whoever has it use a dataset; `dataset_hash` is empty for one of all datasets.

    `api_key` is its public id. `secret` is the key itself, known once: when it is made. The server keeps a hash of it.
    """

    dataset_hash: str
    api_key: str
    title: str
    scopes: list[DatasetScope]
    secret: str = field(default="", repr=False)
    expires_at: dt.datetime | None = field(default=None, repr=False)
    created_at: dt.datetime | None = field(default=None, repr=False)
    is_master: bool = field(default=False, repr=False)
    is_admin: bool = field(default=False, repr=False)

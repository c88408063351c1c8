"""What it takes to open one bucket, here or in another process: where it is, how to reach it, and the settings.

A value. It is what goes to a process that fetches; what is open never does.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from penstock.store.options import StoreOptions

from .settings import Settings

__all__ = ["BucketSetup"]


class BucketSetup(msgspec.Struct, frozen=True):
    """`bucket` is what a handle calls it; `address` and `options` are what `open_store` takes."""

    bucket: str
    address: str
    options: StoreOptions
    settings: Settings

    @classmethod
    def of(cls, bucket: str, settings: Settings) -> BucketSetup:
        """Return the setup of the bucket that a handle names. UsageError: the name or its remote is not valid."""
        return cls(bucket, *settings.locate_bucket(bucket), settings)

    def hurried(self, patience: float) -> BucketSetup:
        """Return that of who gives up after so many seconds."""
        options = replace(self.options, connect_timeout=min(1.0, patience), deadline=patience, max_attempts=1)
        return msgspec.structs.replace(self, options=options)

    def encode(self) -> bytes:
        """Return it as a message."""
        here = msgspec.structs.replace(self, options=self.options.portable(), settings=self.settings.portable())
        return msgspec.msgpack.encode(here, enc_hook=os.fsencode)

    @classmethod
    def decode(cls, body: bytes) -> BucketSetup:
        """Return the setup in a message of `encode`."""
        return msgspec.msgpack.decode(body, type=cls, dec_hook=_path)


def _path(kind: type, value: Any) -> Path:
    """Return a path from its bytes, the one thing in a setup that msgspec does not know."""
    assert kind is Path
    return Path(os.fsdecode(value))

"""A real bucket in a directory, with datasets pushed into it, and the settings that lead to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from penstock.progress import SILENT
from penstock.repo.push.push import PushOutcome
from penstock.repo.push.push import push as penstock_push
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship

from .memory import Link, Made, Spec

__all__ = ["LocalBucket", "push", "write_tree"]


def push(source: Path, handle: str, settings: Settings) -> PushOutcome:
    """Push a directory."""
    return penstock_push(os.fspath(source), parse_handle(handle), settings, Authorship("me", "", "push"), SILENT)


class LocalBucket:
    """The bucket ``demo`` below a directory, and a block cache beside it."""

    def __init__(self, directory: Path, cache_size: int = 1 << 30) -> None:
        self.directory = directory / "bucket"
        self.directory.mkdir(parents=True)
        remote = Remote(name="demo", url=f"file://{self.directory}")
        self.settings = Settings(directory / "config.toml", directory / "blocks", cache_size, {"demo": remote})

    def push(self, source: Path, handle: str = "demo/data") -> PushOutcome:
        return push(source, handle, self.settings)

    def data_objects(self) -> list[Path]:
        return sorted(path for path in (self.directory / ".penstock" / "data").rglob("*") if path.is_file())


def write_tree(directory: Path, spec: Spec) -> None:
    """Make a directory on disk from what describes it."""
    _write(os.fsencode(directory), spec)


def _write(directory: bytes, spec: Spec) -> None:
    os.makedirs(directory, exist_ok=True)
    for name, item in spec.items():
        path = os.path.join(directory, name)
        if isinstance(item, Link):
            os.symlink(item.target, path)
        elif isinstance(item, Made):
            with open(path, "wb") as stream:
                stream.write(item.data)
            os.chmod(path, 0o755 if item.executable else 0o644)
            if item.mtime_ns is not None:
                os.utime(path, ns=(item.mtime_ns, item.mtime_ns))
        else:
            assert isinstance(item, Mapping)
            _write(path, item)

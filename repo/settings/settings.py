"""Settings: what the command line, the environment and the configuration file say, in that order.

| setting | command line | environment | file |
|---|---|---|---|
| configuration file | ``--config`` | ``PENSTOCK_CONFIG`` | |
| cache directory | ``--cache-dir`` | ``PENSTOCK_CACHE_DIR`` | ``cache.directory`` |
| cache size | ``--cache-size`` | ``PENSTOCK_CACHE_SIZE`` | ``cache.size`` |
| whether commits record times that were set alone | ``--times`` | | ``commit.times`` |
| folders and buckets that entries may point into | | | ``trust.local``, ``trust.buckets`` |

By default the file is ``penstock/config.toml`` in the user's configuration folder, the cache is ``penstock`` in the
user's cache folder, and its size is 50 GB, or a quarter of the file system where that is less.

The quarter is of the file system's whole size and not of what is free, so that the bound is the same from one run to
the next and does not shrink as the cache fills. An environment variable that is empty counts as not set.

Invariants: `Settings` is a value, read once; nothing is created by reading. `open_bucket` is the one place where the
name in a handle becomes a store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import NotFoundError, UsageError
from penstock.store.base import Store
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .config_file import did_you_mean, read_config
from .handle import Handle
from .remote import Remote
from .server_key import key_of_environment
from .sizes import parse_size
from .trust import Trust
from .user_folders import own_cache_folder, user_folder

if TYPE_CHECKING:
    from penstock.cache import BlockCache, LocationIndex

__all__ = ["Settings", "default_cache_size", "find_config"]

_DEFAULT_CACHE_SIZE = 50_000_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for this process. `cache_size` in bytes; `remotes` by name.

    `store_options` are those of buckets that are no remotes: the defaults, unless a program sets others. `beneath`:
    by the address of a bucket, the names of those that are asked for content which it does not have. `also`: likewise,
    the names of those that mirror it, of which the nearest is asked.
    """

    config_path: Path
    cache_directory: Path
    cache_size: int
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    trust: Trust = field(default_factory=Trust)
    commit_times: bool = False
    store_options: StoreOptions = field(default_factory=StoreOptions)
    beneath: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        *,
        config: Path | None = None,
        cache_directory: Path | None = None,
        cache_size: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Return the settings; the arguments are what the command line says, `environ` stands for `os.environ`.

        Raises UsageError for what is not valid in the file or the environment, NotFoundError when the file named by
        `config` is not there, AccessError when it cannot be read.
        """
        environ = os.environ if environ is None else environ
        path = find_config(config, environ)
        if config is not None and not os.path.lexists(path):
            # The default may be missing, and so may the environment's, which scripts set before the first
            # `remote add`; but a name typed on the command line is meant.
            raise NotFoundError(
                f"there is no configuration file {path}",
                why="--config names it",
                fix="penstock --config FILE remote add NAME URL makes one",
            )
        file = read_config(path)
        if cache_directory is None:
            cache_directory = _environment_directory(environ) or file.cache_directory
        if cache_directory is None:
            cache_directory = Path(own_cache_folder())
        if cache_size is None:
            cache_size = _environment_size(environ) or file.cache_size
        if cache_size is None:
            cache_size = default_cache_size(cache_directory)
        return cls(
            path, Path(os.path.abspath(cache_directory)), cache_size, file.remotes, file.trust, file.commit_times
        )

    def locate_bucket(self, bucket: str) -> tuple[str, StoreOptions]:
        """Return the address of `bucket` and how to open it.

        `bucket` is what a `Handle` has: the name of a remote, ``s3://name`` or ``file:///dir``; any other name is
        an S3 bucket. Raises UsageError when it is not valid.
        """
        if bucket in self.remotes:
            remote = self.remotes[bucket]
            return remote.url, remote.store_options()
        Handle(bucket)
        if bucket.startswith(("https://", "http://")):
            return bucket, self._with_key()
        if "://" in bucket:
            return bucket, self.store_options
        meant = did_you_mean(bucket, self.remotes)
        hint = f"{meant} No remote is called {bucket}, so S3 was asked for a bucket of that name" if meant else ""
        return f"s3://{bucket}", replace(self.store_options, hint=hint)

    def _with_key(self) -> StoreOptions:
        """Return the options for a server: with the key of the environment, unless a program has given one."""
        options = self.store_options
        return options if options.key is not None else replace(options, key=key_of_environment())

    def portable(self) -> Settings:
        """Return what another process can use; see `StoreOptions.portable`."""
        return replace(self, store_options=self.store_options.portable())

    def accepts_risk(self, bucket: str) -> bool:
        """Whether a remote says of the store behind `bucket` that it is written to though it may lose versions."""
        where = self.locate_bucket(bucket)
        return any(each.unsafe and (each.url, each.store_options()) == where for each in self.remotes.values())

    def open_bucket(self, bucket: str) -> Store:
        """Return the store behind `bucket`, see `locate_bucket`. It is the caller's to close."""
        url, options = self.locate_bucket(bucket)
        return open_store(url, options)

    def options_by_address(self) -> dict[str, StoreOptions]:
        """Return the options of each remote by the address that it stands for."""
        return {remote.url.rstrip("/"): remote.store_options() for remote in self.remotes.values()}

    def open_cache(self, set_aside: str = "") -> BlockCache:
        """Open the user's block cache; it is the caller's to close. It raises nothing: its mode says what is wrong.

        `set_aside` says why it is not to be looked at for a while.
        """
        from penstock.cache import BlockCache  # lmdb and all that: most that has settings opens no cache

        return BlockCache(self.cache_directory, self.cache_size, set_aside=set_aside)

    def open_locations(self) -> LocationIndex:
        """Open the index of what lies where in buckets, beside the block cache; it is the caller's to close.

        Not for long: one that was open when the machine went down is not believed after that.
        """
        from penstock.cache import LocationIndex  # as above

        return LocationIndex(self.cache_directory, self.cache_size)


def find_config(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the absolute path of the configuration file, whether it is there or not."""
    environ = os.environ if environ is None else environ
    if config is None and environ.get("PENSTOCK_CONFIG"):
        config = Path(environ["PENSTOCK_CONFIG"]).expanduser()
    if config is None:
        config = Path(user_folder("config")) / "config.toml"
    return Path(os.path.abspath(config))


def default_cache_size(directory: Path) -> int:
    """Return the bound, in bytes, of a cache in `directory` that nobody has sized; `directory` need not exist."""
    for place in (directory, *directory.parents):
        try:
            facts = os.statvfs(place)
        except OSError:
            # Not there yet, or not to be looked into: the directory above is most likely on the same disk.
            continue
        return min(_DEFAULT_CACHE_SIZE, facts.f_blocks * facts.f_frsize // 4)
    return _DEFAULT_CACHE_SIZE


def _environment_directory(environ: Mapping[str, str]) -> Path | None:
    text = environ.get("PENSTOCK_CACHE_DIR")
    return Path(text).expanduser() if text else None


def _environment_size(environ: Mapping[str, str]) -> int | None:
    text = environ.get("PENSTOCK_CACHE_SIZE")
    if not text:
        return None
    try:
        size = parse_size(text)
    except UsageError as error:
        raise UsageError(f"PENSTOCK_CACHE_SIZE: {error.what}", why=error.why, fix=error.fix) from error
    if size == 0:
        raise UsageError("PENSTOCK_CACHE_SIZE is zero", why="the cache needs room", fix="Write for example 50GB")
    return size

"""Settings, and the remotes in them: which buckets have names here, and how each is reached.

`Settings` is a value, read once from command line, environment and the configuration file. Remotes live in that file
alone: to add or remove one touches no bucket and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.repo.settings import config_edit
from penstock.repo.settings.remote import ADDRESSING_STYLES, ENCRYPTIONS, Remote, absolute_address
from penstock.repo.settings.settings import Settings, find_config
from penstock.repo.settings.trust import record_path as allowed_record
from penstock.repo.settings.user_folders import make_user_folder

__all__ = [
    "ADDRESSING_STYLES",
    "ENCRYPTIONS",
    "Remote",
    "Settings",
    "add_remote",
    "allowed_record",
    "find_config",
    "load_settings",
    "make_user_folder",
    "remotes",
    "remove_remote",
]


def load_settings(
    *, config: Path | None = None, cache_directory: Path | None = None, cache_size: int | None = None
) -> Settings:
    """Return the settings of this process; each argument, if given, wins over environment and file.

    `config` is a configuration file, `cache_size` in bytes. Crashes that damage in the cache has led to before are
    looked for on the way, so that the cache heals. Errors as `Settings.load`.
    """
    settings = Settings.load(config=config, cache_directory=cache_directory, cache_size=cache_size)
    if settings.cache_directory.is_dir():
        from penstock.cache import note_crashes  # only who has a cache needs lmdb

        note_crashes(settings.cache_directory)
    return settings


def remotes(settings: Settings | None = None) -> Mapping[str, Remote]:
    """Return the remotes by name, in alphabetical order."""
    settings = settings or Settings.load()
    return {name: settings.remotes[name] for name in sorted(settings.remotes)}


def add_remote(
    name: str,
    url: str,
    *,
    config: Path | None = None,
    replace: bool = False,
    endpoint_url: str | None = None,
    profile: str | None = None,
    region: str | None = None,
    addressing_style: str | None = None,
    anonymous: bool = False,
    request_payer: bool = False,
    sse: str | None = None,
    sse_kms_key_id: str | None = None,
    deadline: float | None = None,
    unsafe: bool = False,
) -> Remote:
    """Let `name` stand for the bucket at `url` from now on, and return the remote.

    `url` is ``s3://bucket[/prefix]``, ``file:///dir`` or a path, made absolute. `config` is the file that is written,
    the user's by default. What the other arguments mean is said at `Remote`.

    UsageError: they are not valid together. ConflictError: the name has another meaning, and `replace` is False.

    >>> import penstock
    >>> penstock.add_remote("lab", "./store").name
    'lab'
    >>> sorted(penstock.remotes())
    ['demo', 'lab']
    """
    remote = Remote(
        name=name,
        url=absolute_address(url),
        endpoint_url=endpoint_url,
        profile=profile,
        region=region,
        addressing_style=addressing_style,
        anonymous=anonymous,
        request_payer=request_payer,
        sse=sse,
        sse_kms_key_id=sse_kms_key_id,
        deadline=deadline,
        unsafe=unsafe,
    )
    config_edit.add_remote(find_config(config), remote, replace=replace)
    return remote


def remove_remote(name: str, *, config: Path | None = None) -> Remote:
    """Forget a remote and return what it was; the bucket and what is in it stay. NotFoundError: there is none."""
    return config_edit.remove_remote(find_config(config), name)

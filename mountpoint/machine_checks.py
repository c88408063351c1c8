"""What this machine lets a mount do: looked at, never changed. What is not allowed costs speed, or the mount itself.

Paths are arguments so that tests can show other machines.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing

from penstock.cache import SMALLEST_BOUND
from penstock.errors import PenstockError
from penstock.mountpoint.daemon.device import BACKGROUND
from penstock.repo.doctor.check import Check, failed, fine, warning
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.sizes import format_size
from penstock.store.mount_table import network_disk

from .known_mounts import list_mounts
from .mount_options import MountOptions
from .preflight import check_fuse, other_users_allowed

__all__ = [
    "check_background",
    "check_cache",
    "check_device",
    "check_helper",
    "check_kernel",
    "check_machine",
    "check_mounts",
    "check_other_users",
    "check_read_ahead",
]

_RESEND = (6, 9)
_LIMIT = "/sys/module/fuse/parameters/max_user_bgreq"


def check_machine(settings: Settings) -> Iterator[Check]:
    """Yield everything that can be said without a bucket."""
    yield check_device()
    yield check_helper(root=os.geteuid() == 0)
    yield check_other_users(root=os.geteuid() == 0)
    yield check_read_ahead()
    yield check_background(root=os.geteuid() == 0)
    yield check_kernel(os.uname().release)
    yield from check_cache(settings)
    yield check_mounts()


def check_device() -> Check:
    """Look whether FUSE file systems can be mounted at all."""
    try:
        check_fuse(MountOptions())
    except PenstockError as error:
        return failed("fuse", error, "nothing can be mounted; pushing, reading and hashing work")
    return fine("fuse", "/dev/fuse can be used")


def check_helper(*, root: bool, search: str | None = None) -> Check:
    """Look for the program that mounts for users other than root."""
    found = shutil.which("fusermount3", path=search)
    if found is not None:
        return fine("fusermount3", found)
    if root:
        return fine("fusermount3", "not installed; root needs none")
    return warning("fusermount3", "not installed", "only root can mount", "As root: apt install fuse3")


def check_other_users(*, root: bool, configuration: str = "/etc/fuse.conf") -> Check:
    """Look whether ``--allow-other`` will be permitted."""
    if root:
        return fine("user_allow_other", "root may let other users in")
    if other_users_allowed(configuration):
        return fine("user_allow_other", f"{configuration} permits it")
    return warning(
        "user_allow_other",
        f"{configuration} does not say it",
        "mount --allow-other is refused",
        f"As root: echo user_allow_other >> {configuration}",
    )


def check_read_ahead(devices: str = "/sys/class/bdi") -> Check:
    """Look whether a mount may set how far the kernel reads ahead of a reader."""
    try:
        files = [os.path.join(devices, name, "read_ahead_kb") for name in os.listdir(devices)]
    except OSError:
        files = []
    if any(os.access(path, os.W_OK) for path in files):
        return fine("read-ahead", "can be set")
    return warning(
        "read-ahead",
        f"{devices} cannot be written",
        "one sequential reader of what is cached gets 0.9 instead of 1.6 GB/s",
        f"As root, after mounting: echo 1024 > {devices}/0:N/read_ahead_kb (mountpoint -d DIR tells 0:N)",
    )


def check_background(*, root: bool, limit: str = _LIMIT) -> Check:
    """Look whether a mount gets as many requests at once as it asks for: the kernel bounds those of other users."""
    try:
        with open(limit, encoding="ascii") as stream:
            most = int(stream.read())
    except (OSError, ValueError):
        return fine("max_background", "not bounded by the system")
    if root or most >= BACKGROUND:
        return fine("max_background", f"{BACKGROUND} requests")
    return warning(
        "max_background",
        f"{limit} allows {most}",
        "32 readers of small files get 0.4k files/s with 12 instead of 1.1k with 256, from a store 20 ms away",
        f"As root: echo {BACKGROUND} > {limit}",
    )


def check_kernel(release: str) -> Check:
    """Look whether the kernel can send requests again to a process that took over."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _RESEND:
        return warning(
            "kernel",
            f"Linux {release}",
            "when the process that serves a mount is killed, reads under way fail",
            f"Use Linux {_RESEND[0]}.{_RESEND[1]} or later.",
        )
    return fine("kernel", f"Linux {release}")


def check_cache(settings: Settings) -> Iterator[Check]:
    """Look at the block cache: whose it is, how full, whether there is room for what it may grow to."""
    with closing(settings.open_cache()) as cache:
        info = cache.info()
    if info.mode != "ok":
        enough = info.max_bytes >= SMALLEST_BOUND
        yield warning(
            "cache",
            f"{info.directory} is {info.mode}",
            "every read goes to the store",
            "Mend that, make room on its disk, or name another one: PENSTOCK_CACHE_DIR"
            if enough
            else "Give it more, here or on a larger disk: PENSTOCK_CACHE_SIZE, PENSTOCK_CACHE_DIR",
        )
        return
    if disk := network_disk(str(info.directory)):
        yield warning(
            "cache",
            f"{info.directory} lies on a network disk ({disk})",
            "it is slower than a local one, and only safe while one machine uses it",
            "Name a place on a local disk: PENSTOCK_CACHE_DIR",
        )
    size = f"{format_size(info.bytes)} of {format_size(info.max_bytes)}"
    volume = os.statvfs(info.directory)
    free = volume.f_bavail * volume.f_frsize
    if info.bytes + free < info.max_bytes:
        yield warning(
            "cache",
            f"{info.directory}, {size}, with {format_size(free)} free on its disk",
            "it meets a full disk before its bound; from then on reads of what is new go to the store",
            f"Give it less: PENSTOCK_CACHE_SIZE={format_size((info.bytes + free) * 9 // 10).replace(' ', '')}",
        )
        return
    yield fine("cache", f"{info.directory}, {size}")


def check_mounts() -> Check:
    """Look for mounts whose daemon is gone."""
    found = list_mounts()
    dead = [mount.mountpoint for mount in found if not mount.alive]
    if dead:
        return warning(
            "mounts",
            f"dead: {', '.join(dead)}",
            "whoever touches them gets `Transport endpoint is not connected`",
            f"penstock umount {' '.join(dead)}",
        )
    return fine("mounts", f"{len(found)} alive" if found else "none")

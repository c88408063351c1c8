"""``mount.penstock``: what mount(8), and so /etc/fstab and systemd, call for file systems of type penstock.

    mount -t penstock lab/photos:v1 /mnt/photos -o allow_other,cache_size=50G

mount(8) runs ``/sbin/mount.penstock SOURCE DIRECTORY [-sfnv] [-o OPTIONS]``. Options of `penstock mount` are written
with underscores; what every file system takes (``ro``, ``_netdev``, ``nofail``, ``x-…``) is heard and left alone.
mount(8) says ``rw`` also where nobody did, so that it means nothing here: a mount that takes changes says ``writable``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from penstock.cli.main import root, run

__all__ = ["HelperCall", "main", "parse_call"]

_CONFIGURATION = "/etc/penstock/config.toml"
"""Settings of the machine: mount(8) passes no HOME on, and at boot there is none."""
_USAGE = "usage: mount.penstock HANDLE DIRECTORY [-sfnv] [-o OPTIONS]"
_FLAGS = {"allow_other": "--allow-other", "writable": "--writable", "nonempty": "--non-empty"}
_VALUES = {
    "cache_dir": "--cache-dir",
    "cache_size": "--cache-size",
    "gid": "--gid",
    "log_format": "--log-format",
    "overlay_dir": "--overlay-dir",
    "record_trace": "--record-trace",
    "uid": "--uid",
    "umask": "--umask",
}
_LEFT_ALONE = frozenset({"_netdev", "async", "defaults", "loud", "nofail", "ro", "rw", "silent"})
_EITHER_WAY = frozenset(
    {"atime", "auto", "dev", "diratime", "exec", "group", "iversion", "lazytime", "mand", "owner", "relatime"}
    | {"strictatime", "suid", "user", "users"}
)
"""Left alone as well, also with "no" before them."""
_OF_KERNEL = frozenset({"noexec"})
"""Options that the kernel is told of once it is mounted; nosuid and nodev hold on every FUSE mount of ours."""


class HelperCall(NamedTuple):
    """What `penstock` is called with, and the options that the kernel is told of. `is_fake`: nothing is mounted."""

    arguments: tuple[str, ...]
    directory: str
    kernel_options: tuple[str, ...]
    is_fake: bool


def parse_call(words: Sequence[str]) -> HelperCall:
    """Understand what mount(8) says. ValueError: a sentence about what is wrong."""
    places, options, flags = [], [], ""
    left = iter(words)
    for word in left:
        if word in ("-o", "-t", "-N"):
            value = next(left, None)
            if value is None:
                raise ValueError(f"{word} wants a value")
            if word == "-o":
                options += [each for each in value.split(",") if each]
        elif word.startswith("-") and len(word) > 1 and not set(word[1:]) - set("sfnv"):
            flags += word[1:]
        elif word.startswith("-"):
            raise ValueError(f"there is no option {word}")
        else:
            places.append(word)
    if len(places) != 2:
        raise ValueError(_USAGE)
    before, after, kernel = [], [], []
    for option in options:
        name, equals, value = option.partition("=")
        if name == "config" and equals:
            before += ["--config", value]
        elif name in _FLAGS and not equals:
            after.append(_FLAGS[name])
        elif name in _VALUES and equals:
            after += [_VALUES[name], value]
        elif option in _OF_KERNEL:
            kernel.append(option)
        elif not (
            option in _LEFT_ALONE
            or option.removeprefix("no") in _EITHER_WAY
            or name.startswith(("x-", "X-", "comment"))
            or "s" in flags
        ):
            known = ", ".join(sorted({*_FLAGS, *(f"{each}=" for each in (*_VALUES, "config"))}))
            raise ValueError(f"there is no option {option}: there are {known}")
    if flags.count("v"):
        before.append("-v")
    source, directory = places
    return HelperCall((*before, "mount", *after, "--", source, directory), directory, tuple(kernel), "f" in flags)


def main() -> NoReturn:
    """Mount as mount(8) says, and end this process as `penstock mount` would."""
    try:
        call = parse_call(sys.argv[1:])
    except ValueError as error:
        sys.exit(_told(str(error), 1))
    if call.is_fake:
        sys.exit(0)
    machine = [] if "--config" in call.arguments or not os.path.exists(_CONFIGURATION) else ["--config", _CONFIGURATION]
    try:
        sys.argv[1:] = [*machine, *call.arguments]
        run(root)
    except SystemExit as ended:
        if ended.code:
            sys.exit(32)  # a failure, by mount(8)
    if call.kernel_options:
        wanted = ",".join(("remount", "bind", *call.kernel_options))
        if subprocess.run(["mount", "-i", "-o", wanted, "--", call.directory], check=False).returncode:
            subprocess.run([sys.executable, "-P", "-m", "penstock", "umount", call.directory], check=False)
            sys.exit(_told(f"the kernel does not take {', '.join(call.kernel_options)}", 32))
    sys.exit(0)


def _told(text: str, code: int) -> int:
    print(f"mount.penstock: {text}", file=sys.stderr)
    return code

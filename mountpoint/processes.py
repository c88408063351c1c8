"""Other processes, as /proc shows them: whether one lives, when it ends, which ones hold a mount.

A process is its id and its start time: ids come again. Looks at links by their text and never through them, so that
a mount that does not answer cannot stall a look at it.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .kernel_mounts import KernelMount

__all__ = ["Holder", "ancestors", "boot_id", "end", "holders", "other_namespaces", "start_time", "wait_for_end"]


_MOST_ANCESTORS = 64


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that keeps a mount busy. `use` says how: working directory, open file, mapped file, ..."""

    pid: int
    name: str
    use: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}, {self.use})"


def boot_id() -> str:
    """Return what the kernel drew at boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            # The name in parentheses may hold anything, parentheses too.
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def ancestors(thread: int) -> list[tuple[int, int]]:
    """Return the process of a thread, the one that has started it, and so on: ids, and start times."""
    found: list[tuple[int, int]] = []
    try:
        with open(f"/proc/{thread}/status", "rb") as stream:
            process = int(stream.read(4096).partition(b"\nTgid:")[2].partition(b"\n")[0])
        while process > 0 and len(found) < _MOST_ANCESTORS:
            with open(f"/proc/{process}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
            found.append((process, int(fields[19])))
            process = int(fields[1])
    except (FileNotFoundError, ProcessLookupError, ValueError):  # it has ended meanwhile
        return found
    return found


def wait_for_end(pid: int, started: int, timeout: float) -> bool:
    """Wait up to `timeout` seconds for a process to end; True when it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if start_time(pid) != started:
            return True
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)


def end(pid: int, started: int, grace: float) -> bool:
    """Ask a process to end, and after `grace` seconds make it; True when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if start_time(pid) != started:
            return True
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_for_end(pid, started, grace):
            return True
    return False


def holders(mount: KernelMount) -> list[Holder]:
    """Return the processes that use a mount, as far as this user may see, each with one way it does."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # it has ended meanwhile, or is none of ours to look into
                use = next(_uses(name, mount), None)
                if use is not None:
                    found.append(Holder(int(name), _name(name), use))
    return sorted(found, key=lambda holder: holder.pid)


def _name(pid: str) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()


def other_namespaces(device: tuple[int, int]) -> list[Holder]:
    """Return a process of each other mount namespace in which a device is mounted, as far as this user may see."""
    wanted = b"%d:%d" % device
    seen = {os.readlink("/proc/self/ns/mnt")}
    found = []
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        with suppress(OSError):  # as above
            namespace = os.readlink(f"/proc/{name}/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            with open(f"/proc/{name}/mountinfo", "rb") as table:
                is_there = any(line.split(b" ", 3)[2] == wanted for line in table)
            if is_there:
                found.append(Holder(int(name), _name(name), "a mount namespace of its own"))
    return found


def _uses(pid: str, mount: KernelMount) -> Iterator[str]:
    prefix = mount.mountpoint.rstrip("/") + "/"

    def inside(link: str) -> bool:
        with suppress(OSError):
            target = os.readlink(f"/proc/{pid}/{link}")
            return target == mount.mountpoint or target.startswith(prefix)
        return False

    for link, use in (("cwd", "working directory"), ("root", "root directory"), ("exe", "running program")):
        if inside(link):
            yield use
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        if inside(f"fd/{descriptor}"):
            yield "open file"
    device = b"%02x:%02x" % mount.device
    with open(f"/proc/{pid}/maps", "rb") as stream:
        if any(line.split(b" ", 4)[3] == device for line in stream):
            yield "mapped file"

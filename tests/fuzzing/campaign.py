"""A campaign: one target is given mutated inputs for a time, and must take each as the rules say.

**What is held of every input**: it is accepted, or refused with one of `penstock.errors`; it takes no more than
SECONDS of processor time and MEMORY bytes; nothing outside of the target's own folder is written, removed or renamed,
and what lies beside it is what it was.

An input is made from the target's name, a seed and a number, and from nothing else, and the one under way is kept in a
file: what crashed or hung the process can be given to it again.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from penstock.errors import PenstockError

from .mutations import mutate_bytes, mutate_value

__all__ = ["Attempt", "Finding", "Target", "Tried", "replay", "run"]

SECONDS = 3.0
MEMORY = 768 << 20
"""What an input may add: hostile nodes take 400 MiB by their own bounds (`tests/manifest/test_hostile_nodes.py`)."""

Attempt = Callable[[bytes], object]
"""Given an input, returns if it was accepted; raises what it was refused with."""

_CODECS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "json": (msgspec.json.decode, msgspec.json.encode),
    "msgpack": (msgspec.msgpack.decode, msgspec.msgpack.encode),
}


class Finding(AssertionError):  # noqa: N818  # it is what a campaign looks for
    """An input that broke a rule."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed. `open` is given an empty folder; it yields valid inputs, and what takes one.

    `shape`: "bytes", or "json" or "msgpack" where the value is bent as well as its bytes. `seconds` of processor time
    are what one input may take, `inputs` how many there are when no time is set. `valid`: whether the first inputs have
    to be accepted as they are.
    """

    name: str
    open: Callable[[Path], AbstractContextManager[tuple[Sequence[bytes], Attempt]]]
    shape: str = "bytes"
    seconds: float = SECONDS
    valid: bool = True
    inputs: int = 300


@dataclass(slots=True)
class Tried:
    """How many inputs there were, and what became of them."""

    accepted: int = 0
    refused: int = 0


def run(target: Target, folder: Path, seed: str, seconds: float | None, current: Path | None = None) -> Tried:
    """Try inputs for `seconds`, or the target's number of them; Finding when one breaks a rule.

    `current`: where the input under way is kept.
    """
    tried = Tried()
    current = current or folder / "current"
    with _opened(target, folder) as (samples, take):
        for sample in samples:
            if take(sample):
                tried.accepted += 1
            elif target.valid:
                raise Finding(f"{target.name}: a valid sample was refused: {sample[:200]!r}")
        with open(current, "wb", buffering=0) as kept:
            began, number = time.monotonic(), 0
            while number < target.inputs if seconds is None else time.monotonic() - began < seconds:
                body = _made(target, samples, f"{target.name}:{seed}:{number}")
                kept.seek(0)
                kept.write(body)
                kept.truncate()
                if take(body):
                    tried.accepted += 1
                else:
                    tried.refused += 1
                number += 1
    current.unlink()
    return tried


def replay(target: Target, folder: Path, body: bytes) -> None:
    """Try one input again."""
    with _opened(target, folder) as (_, take):
        take(body)


def _made(target: Target, samples: Sequence[bytes], seed: str) -> bytes:
    rng = random.Random(seed)
    if target.shape in _CODECS and rng.random() < 0.8:
        decode, encode = _CODECS[target.shape]
        # What no encoder takes (a number that is too large) is nothing that can arrive.
        with contextlib.suppress(msgspec.MsgspecError, OverflowError, TypeError, UnicodeError):
            return encode(mutate_value(rng, decode(rng.choice(samples))))
    return mutate_bytes(rng, samples)


@contextlib.contextmanager
def _opened(target: Target, folder: Path) -> Iterator[tuple[Sequence[bytes], Callable[[bytes], bool]]]:
    """Open a target beside things that must not be touched; yield its samples and what tries an input by the rules."""
    inside, outside = folder / "inside", folder / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "old").mkdir()
    (outside / "secret").write_bytes(b"nobody may read this")
    os.utime(outside / "secret", (0, 0))
    before = _look(outside)
    temporary, tempfile.tempdir = tempfile.tempdir, str(inside)
    try:
        with target.open(inside) as (samples, attempt), _bounded_memory():

            def take(body: bytes) -> bool:
                accepted = _take(target, attempt, body, inside)
                if _look(outside) != before:
                    raise Finding(f"{target.name}: what lies beside it was changed by {body[:500]!r}")
                return accepted

            yield samples, take
    finally:
        tempfile.tempdir = temporary


def _take(target: Target, attempt: Attempt, body: bytes, inside: Path) -> bool:
    began = time.process_time()
    accepted = True
    with _watched(str(inside)) as offences:
        try:
            attempt(body)
        except PenstockError as error:
            accepted = False
            str(error)
        except (Exception, MemoryError) as error:
            raise Finding(f"{target.name}: {type(error).__name__}: {error}, by {body[:500]!r}") from error
    if offences:
        raise Finding(f"{target.name}: {offences[:3]} by {body[:500]!r}")
    taken = time.process_time() - began
    if taken > target.seconds:
        raise Finding(f"{target.name}: {taken:.1f} s of processor time for {len(body)} bytes, {body[:500]!r}")
    return accepted


def _look(folder: Path) -> list[tuple[str, int, float, bytes]]:
    found = []
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        found.append((str(path), facts.st_mode, facts.st_mtime, path.read_bytes() if path.is_file() else b""))
    return found


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let this process take MEMORY more than it has: beyond that it is a MemoryError."""
    with open("/proc/self/status", encoding="ascii") as status:
        data = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData:"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# Hooks of the interpreter cannot be taken out again: this one stays, and does nothing while no input is tried.
_watching: tuple[str, list[str]] | None = None
_CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FREE = ("/dev/null", "/proc/self/fd/")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None or not (event in _CHANGES or event == "open"):
        return
    inside, offences = _watching
    if event == "open":
        path, _, flags = arguments
        paths = [path] if isinstance(flags, int) and flags & _WRITES else []
    else:
        changed = arguments[1:2] if event in ("os.symlink", "os.link") else arguments[:2]  # not what they lead to
        paths = [argument for argument in changed if isinstance(argument, str | bytes)]
    for path in paths:
        # What is relative is relative to a descriptor: that what lies beside is untouched is looked at besides.
        if isinstance(path, str | bytes) and os.path.isabs(path):
            text = os.fsdecode(path)
            if not text.startswith((f"{inside}/", *_FREE)) and text != inside and "__pycache__" not in text:
                offences.append(f"{event} {text}")


@contextlib.contextmanager
def _watched(inside: str) -> Iterator[list[str]]:
    global _watching
    offences: list[str] = []
    _watching = inside, offences
    try:
        yield offences
    finally:
        _watching = None


sys.addaudithook(_hook)

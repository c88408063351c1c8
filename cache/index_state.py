"""Whether an LMDB file found on disk may be opened at all.

LMDB checks no page: a damaged one can crash the process that follows it. So an index is opened only when it cannot
have been damaged unnoticed, and is rebuilt otherwise. It is trusted when

- another live process has it open in this boot: the kernel holds the truth, whatever was killed; or
- the last user closed it cleanly, and size, time and (up to DIGESTED bytes) BLAKE3 are what they were then; in the same
  boot the file itself and its times tell as much, so that who opens it often does not hash it each time; or
- it was used in this boot, its last user was killed, and it is larger than CHEAP: rebuilding a small one costs
  less than doubting it, a large one would make the next mount wait.

After a power loss none of them holds; nor is it trusted when a process that used the cache has crashed since
(`crashes`), whatever it crashed of. **Invariant:** only the holder of the layout lock reads or writes the state.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from blake3 import blake3
from msgspec import structs

from .crashes import crash_bytes

__all__ = ["IndexState", "boot_id"]

DIGESTED = 1 << 20
"""Hashing more at each close, ten times in a small push, was half of that push once there were 10,000 versions."""
CHEAP = 32 << 20
_FORMAT = 1


def boot_id() -> str:
    """Return what the kernel drew at boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class _Clean(msgspec.Struct, frozen=True):
    size: int
    modified_ns: int
    digest: str
    changed_ns: int = 0
    inode: int = 0


class _State(msgspec.Struct, frozen=True):
    format: int
    boot: str
    clean: _Clean | None
    crashes: int = 0
    """Bytes that processes had written of their crashes when the index was last believed in."""


class IndexState:
    """The state file that goes with an environment."""

    def __init__(self, path: str, environment: str, boot: str, root: str) -> None:
        """`path` of the state file, directory of the environment, id of this boot, directory of the block cache."""
        self._path = path
        self._root = root
        self._data = os.path.join(environment, "data.mdb")
        self._boot = boot
        self._found: _Clean | None = None
        """How the environment was left that was found clean."""

    def trusted(self, *, sole: bool, rebuildable: bool = True) -> bool:
        """Whether the environment may be opened.

        `sole`: no other process has it open. `rebuildable`: nothing is lost by distrust but a moment.
        """
        self._found = None
        if not os.path.exists(self._data):
            return False
        state = self._read()
        if state is None or state.format != _FORMAT or state.crashes != crash_bytes(self._root):
            return False
        if not sole:
            return True
        if state.clean is not None:
            if not self._is_as(state.clean, same_file=state.boot == self._boot):
                return False
            self._found = state.clean
            return True
        return state.boot == self._boot and not (rebuildable and os.path.getsize(self._data) <= CHEAP)

    def begin(self) -> None:
        """Note that the environment is in use in this boot."""
        if self._read() != (state := _State(_FORMAT, self._boot, None, crash_bytes(self._root))):
            self._write(state)

    def end(self) -> None:
        """Note that the environment was synced and its last user is about to leave."""
        state = self._read()
        # Not the crashes of now: one that this process has seen nothing of is for the next to judge.
        crashes = state.crashes if state is not None else crash_bytes(self._root)
        is_unchanged = self._found is not None and self._facts() == structs.replace(self._found, digest="")
        clean = self._found if is_unchanged else self._measure()
        self._write(_State(_FORMAT, self._boot, clean, crashes), durable=not is_unchanged)

    def forget(self) -> None:
        """Distrust the environment until `begin`: it is about to be replaced."""
        Path(self._path).unlink(missing_ok=True)

    def _read(self) -> _State | None:
        try:
            return msgspec.json.decode(Path(self._path).read_bytes(), type=_State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _write(self, state: _State, *, durable: bool = False) -> None:
        fresh = self._path + ".new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(state))
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(fresh, self._path)

    def _is_as(self, clean: _Clean, *, same_file: bool) -> bool:
        """Whether the environment is as it was left; `same_file`: since then nothing but writing changed its times."""
        facts = self._facts()
        if same_file and facts == structs.replace(clean, digest=""):
            return True
        if (facts.size, facts.modified_ns) != (clean.size, clean.modified_ns):
            return False
        return not clean.digest or self._digest() == clean.digest

    def _measure(self) -> _Clean:
        facts = self._facts()
        return structs.replace(facts, digest=self._digest()) if facts.size <= DIGESTED else facts

    def _facts(self) -> _Clean:
        found = os.stat(self._data)
        return _Clean(found.st_size, found.st_mtime_ns, "", found.st_ctime_ns, found.st_ino)

    def _digest(self) -> str:
        return blake3(Path(self._data).read_bytes()).hexdigest()

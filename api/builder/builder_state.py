"""A builder that is kept in a directory from one command to the next, in ``.penstock/`` there.

    package.json            what the builder is, with a format number and a keyed checksum; replaced as a whole
    package-<hex>.frames    the nodes of its tree, only ever appended to; the state says how far they count
    package.lock            held by who has the builder open

**Invariant:** a process that is killed leaves the state as it was before, or as it is after: the nodes are synced
before the state that counts on them gets its name, and what it does not count is written over. Two processes do not
have the builder open at once.

A state names files of this machine that are sent when it is pushed. So one that came with a cloned repository or an
unpacked archive must not pass for the user's own: the checksum's key is the user's, kept where no data set leads to.
"""

# ruff: noqa: SLF001  # the other half of `PackageBuilder`: it keeps what that holds

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import msgspec
from blake3 import blake3

from penstock.api.handles import Handle, whole_version
from penstock.api.settings import Settings
from penstock.cache.locking import LockedFile
from penstock.errors import AccessError, ConflictError, FormatTooNewError, IntegrityError, NotFoundError
from penstock.repo.draft.draft import Draft, DraftState
from penstock.repo.draft.frame_file import FrameFile, new_pack
from penstock.repo.settings.user_key import user_key

from .builder import PackageBuilder
from .builder_sources import BuilderSource, Sources

__all__ = ["begin_builder", "kept_builder"]

_FORMAT = 1
_FOLDER = ".penstock"
_STATE = "package.json"
_MOST_STATE = 16 << 20
_PATIENCE = 10.0
"""Seconds to wait for another process to be done with the builder."""
_BEGIN_ANEW = "Begin anew: penstock package init bucket/dataset --force. What was pushed is untouched."


class _Kept(msgspec.Struct, frozen=True):
    draft: DraftState
    pack: bytes
    end: int
    sources: tuple[BuilderSource, ...]
    more: bool
    is_built: bool
    published: str | None
    version_name: str


class _File(msgspec.Struct, frozen=True):
    format: int
    check: str
    state: msgspec.Raw


class _Folder:
    """The folder of one builder, locked."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _FOLDER)

    @contextmanager
    def locked(self) -> Iterator[None]:
        try:
            os.makedirs(self._path, mode=0o755, exist_ok=True)
            facts = os.lstat(self._path)
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
                raise AccessError(
                    f"{self._path} is not used",
                    why="it is no directory of yours",
                    fix="Remove it, or work in another directory.",
                )
            lock = LockedFile(os.path.join(self._path, "package.lock"), exclusive=True, wait_seconds=_PATIENCE)
        except BlockingIOError as error:
            raise ConflictError(
                "the package is being worked at by another command",
                why=f"it holds {self._path}/package.lock",
                fix="Try again when it is done.",
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        with closing(lock):
            yield

    def has_state(self) -> bool:
        return os.path.lexists(os.path.join(self._path, _STATE))

    def read(self) -> _Kept:
        path = os.path.join(self._path, _STATE)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFoundError(
                "no package is being built in this directory", fix="Begin one: penstock package init bucket/dataset"
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
                raise AccessError(f"{path} is not used", why="it is no file of yours", fix=_BEGIN_ANEW)
            body = stream.read(_MOST_STATE + 1)
        try:
            found = msgspec.json.decode(body, type=_File)
            if found.format != _FORMAT:
                raise FormatTooNewError(
                    f"{path} has format {found.format}",
                    why=f"this Penstock reads format {_FORMAT}",
                    fix="Go on with the Penstock that wrote it, or begin anew: penstock package init D --force.",
                )
            if blake3(bytes(found.state), key=user_key()).hexdigest() != found.check:
                raise self._damaged(path, "its checksum is another, or it was made by somebody else")
            return msgspec.json.decode(found.state, type=_Kept)
        except msgspec.MsgspecError as error:
            raise self._damaged(path, str(error)) from error

    def frames(self, pack: bytes, end: int = 0) -> FrameFile:
        name = self._frames_name(pack)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if end else os.O_CREAT)
        try:
            descriptor = os.open(os.path.join(self._path, name), flags, 0o600)
        except FileNotFoundError as error:
            raise self._damaged(os.path.join(self._path, name), "it is gone") from error
        except OSError as error:
            raise self._unusable(error) from error
        return FrameFile(descriptor, pack, end)

    def new_frames(self) -> FrameFile:
        return self.frames(new_pack())

    def write(self, kept: _Kept) -> None:
        body = msgspec.json.encode(kept)
        whole = msgspec.json.encode(_File(_FORMAT, blake3(body, key=user_key()).hexdigest(), msgspec.Raw(body)))
        temporary = os.path.join(self._path, f"{_STATE}.{os.getpid()}")
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            with open(temporary, "xb") as stream:
                stream.write(whole)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, os.path.join(self._path, _STATE))
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._sweep(self._frames_name(kept.pack))
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise self._unusable(error) from error

    def _sweep(self, current: str) -> None:
        """Remove the nodes of states that are no more, and what was being written when a process was killed."""
        for name in os.listdir(self._path):
            of_frames = name.startswith("package-") and name.endswith(".frames") and name != current
            if of_frames or name.startswith(f"{_STATE}."):
                os.unlink(os.path.join(self._path, name))

    @staticmethod
    def _frames_name(pack: bytes) -> str:
        return f"package-{pack[:16].hex()}.frames"

    def _damaged(self, path: str, why: str) -> IntegrityError:
        return IntegrityError(f"{path} is damaged", why=why, fix=_BEGIN_ANEW)

    def _unusable(self, error: OSError) -> AccessError:
        return AccessError(
            f"what is being built cannot be kept in {self._path}",
            why=error.strerror or str(error),
            fix="Give yourself access, make room, or work in another directory.",
        )


def begin_builder(directory: str, handle: Handle, settings: Settings, *, force: bool = False) -> None:
    """Keep a new, empty builder of ``bucket/dataset[:branch]`` in a directory.

    ConflictError: there is one, and not `force`. AccessError: nothing can be written there.
    """
    whole_version(handle)
    folder = _Folder(directory)
    with folder.locked():
        if folder.has_state() and not force:
            raise ConflictError(
                "a package is being built in this directory already",
                fix="Go on with it (penstock package status), or begin anew with --force.",
            )
        with folder.new_frames() as frames:
            draft = Draft(settings, frames, DraftState(handle.bucket, handle.dataset, handle.ref))
            with closing(draft):
                frames.sync()
                folder.write(_Kept(draft.state(), frames.pack, frames.end, (), False, False, None, ""))


@contextmanager
def kept_builder(directory: str, settings: Settings, *, changes: bool = True) -> Iterator[PackageBuilder]:
    """Open the builder that a directory keeps; with `changes`, what becomes of it in the block is kept.

    Not when the block raises. NotFoundError: there is none. ConflictError: another process has it open. IntegrityError:
    what is kept was damaged; FormatTooNewError: another Penstock wrote it.
    """
    folder = _Folder(directory)
    with ExitStack() as stack:
        if not folder.has_state():
            folder.read()  # raises
        stack.enter_context(folder.locked())
        kept = folder.read()
        frames = folder.frames(kept.pack, kept.end)
        builder = PackageBuilder(None, settings)
        builder.close()
        builder._begin(Draft(settings, frames, kept.draft), Sources(kept.sources, more=kept.more))
        builder._restore(kept.is_built, kept.published, kept.version_name, folder.new_frames)
        stack.callback(builder.close)
        yield builder
        if changes:
            draft = builder._draft
            state = draft.state()
            draft.frames.sync()
            folder.write(
                _Kept(
                    state,
                    draft.frames.pack,
                    draft.frames.end,
                    tuple(builder._sources),
                    builder._sources.more,
                    builder._is_built,
                    builder._published,
                    builder._version_name,
                )
            )

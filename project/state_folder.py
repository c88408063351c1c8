"""The folder of a project's state, ``.penstock/``: its owner's alone, ignored by git, marked as made here.

    .git/          the least that git takes for a repository: so `git clean -x` leaves the folder alone
    mark           keyed by the user's key: says that this user made the folder, and which one it is
    bucket/        contents that were added and not yet pushed (`local_bucket`)
    index.sqlite   what each tracked path was when it was known last (`repo/tracked/tracked_index`)
    kept/          files that were edited, and had to give way

A repository that somebody else has made can bring a ``.penstock/`` along, with an index that says of files what is not
so. **Invariant:** without the mark nothing in the folder is believed or used. The mark names the folder by its inode,
so that one that was copied here, or came out of an archive, is not believed either until `penstock trust`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from blake3 import blake3

from penstock.errors import AccessError
from penstock.repo.settings.user_key import user_key

__all__ = ["STATE_FOLDER", "exclude_state", "open_state", "remark_state", "replace_file"]

STATE_FOLDER = ".penstock"
_MARK = "mark"
_EMPTY = ("objects", "refs")
_EXCLUDED = b"/.penstock/\n"


def open_state(directory: str) -> str:
    """Return the path of the state folder in a directory, made if it is not there.

    AccessError: it is a link, somebody else's, or was not made here by this user.
    """
    path = os.path.join(directory, STATE_FOLDER)
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            facts = _checked(path)
            if _read_mark(path) == _mark_of(facts):
                return path
            # Builders of packages make such a folder as well; what is in it then is theirs, and nothing of ours. And
            # whoever was killed, or found the disk full, while he made it, has left no more than its beginning.
            if not all(name.startswith("package") or _is_beginning(path, name) for name in os.listdir(path)):
                raise AccessError(
                    f"{path} is not used",
                    why="you have not made it here: it came with the repository, or was copied",
                    fix="Look what is in it; then remove it, or take it as yours: penstock trust, git datasets trust",
                ) from None
        remark_state(directory)
    except OSError as error:
        raise _unusable(path, error) from error
    return path


def remark_state(directory: str) -> None:
    """Take the state folder in a directory as this user's own. AccessError: it is a link, or somebody else's."""
    path = os.path.join(directory, STATE_FOLDER)
    try:
        facts = _checked(path)
        os.chmod(path, 0o700)
        _shield(path)
        replace_file(os.path.join(path, _MARK), _mark_of(facts))
    except OSError as error:
        raise _unusable(path, error) from error


def replace_file(path: str, body: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all, in place of what has its name. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def exclude_state(common: str) -> None:
    """Have git ignore the state folder in all work trees of a repository: by its own list, which nobody commits."""
    path = os.path.join(common, "info", "exclude")
    try:
        try:
            with open(path, "rb") as stream:
                body = stream.read()
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            body = b""
        if _EXCLUDED not in body.splitlines(keepends=True):
            replace_file(path, body + (b"\n" if body and not body.endswith(b"\n") else b"") + _EXCLUDED)
    except OSError as error:
        raise _unusable(path, error) from error


def _shield(path: str) -> None:
    """Have `git clean` take the folder for a repository of its own: it holds the only copy of what was not pushed."""
    git = os.path.join(path, ".git")
    for name in _EMPTY:
        os.makedirs(os.path.join(git, name), exist_ok=True)
    replace_file(os.path.join(git, "HEAD"), b"ref: refs/heads/main\n")


def _is_beginning(path: str, name: str) -> bool:
    if name != ".git":
        return name.startswith(f"{_MARK}.")
    shield = os.path.join(path, name)
    return not os.path.islink(shield) and all(
        each.startswith("HEAD") or (each in _EMPTY and not os.listdir(os.path.join(shield, each)))
        for each in os.listdir(shield)
    )


def _checked(path: str) -> os.stat_result:
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise AccessError(f"{path} is not used", why="it is no directory of yours", fix="Remove it.")
    return facts


def _mark_of(facts: os.stat_result) -> bytes:
    return blake3(f"{facts.st_dev}:{facts.st_ino}".encode(), key=user_key()).hexdigest().encode()


def _read_mark(path: str) -> bytes | None:
    try:
        descriptor = os.open(os.path.join(path, _MARK), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 65)
    finally:
        os.close(descriptor)


def _unusable(path: str, error: OSError) -> AccessError:
    return AccessError(
        f"the state of the project cannot be kept in {path}",
        why=error.strerror or str(error),
        fix="Give yourself access, or make room.",
    )

"""A file that has its name when it is whole, in place of one that was."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from penstock.errors import AccessError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Open a file beside a path, which becomes it at the end of the block, if that ends well.

    AccessError: it cannot be written.
    """
    partial = f"{path}.{secrets.token_hex(8)}.partial"
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise AccessError(f"cannot write {path!r}", why=error.strerror or str(error)) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)

"""What a command of the catalogue needs that is not always installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import UsageError

__all__ = ["catalogue_extra"]

_NEEDED = frozenset({"av", "cryptography", "fastapi", "jinja2", "multipart", "PIL"}) | frozenset(
    {"prometheus_client", "pydicom", "starlette", "uvicorn"}
)


@contextmanager
def catalogue_extra() -> Iterator[None]:
    """Say what to install where something that the catalogue imports is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise UsageError(
            "the catalogue is not installed", why=f"{error.name} is missing", fix="pip install 'penstock[catalogue]'"
        ) from error

"""What a file that declares a dataset imports: marks for classes and methods, and the names of file types.

    from penstock import dataset, File, ingest, png, jpg

They only say things: what is declared is read from the text of the file, and whoever imports the file, a
test or a notebook, gets a plain class whose methods are plain functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from .file_types import FORMATS

__all__ = ["File", "FileType", "JSON", "alter", "dataset", "delete", "derived", "ingest", "was", *sorted(FORMATS)]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


class JSON:
    """The type of a field that holds anything that JSON can say: ``box: JSON``, ``box: JSON | None``.

    >>> from penstock import JSON, File, dataset, png
    >>> @dataset(remote="lab")
    ... class Boxes:
    ...     image: File[png]
    ...     box: JSON | None
    """


class FileType:
    """File types that a field takes: ``png``, or ``png | jpg``."""

    __slots__ = ("names",)

    def __init__(self, *names: str) -> None:
        self.names = names

    def __or__(self, other: object) -> FileType:
        if isinstance(other, str):
            return FileType(*self.names, other)
        return FileType(*self.names, *other.names) if isinstance(other, FileType) else NotImplemented

    def __ror__(self, other: object) -> FileType:
        return FileType(other, *self.names) if isinstance(other, str) else NotImplemented

    def __repr__(self) -> str:
        return " | ".join(self.names)


class _FileField:
    """What ``File[png]`` is. May be None: ``File[png] | None``."""

    __slots__ = ("formats",)

    def __init__(self, formats: FileType) -> None:
        self.formats = formats

    def __or__(self, other: object) -> _FileField:
        return self if other is None or other is type(None) else NotImplemented

    __ror__ = __or__

    def __call__(self) -> None:
        """Do nothing: `typing` takes only what can be called for a type."""

    def __repr__(self) -> str:
        return f"File[{self.formats!r}]"


class File:
    """The type of a field that is a file: ``File[png]``, ``File[png | jpg]``, ``File["ext"]``.

    >>> from penstock import File, dataset, jpg, png
    >>> @dataset(remote="lab")
    ... class Pictures:
    ...     image: File[png | jpg]
    ...     notes: File["md"]
    """

    def __class_getitem__(cls, formats: FileType | str | tuple[FileType | str, ...]) -> Any:
        """Return the type."""
        each = formats if isinstance(formats, tuple) else (formats,)
        names = [name for found in each for name in ([found] if isinstance(found, str) else found.names)]
        return _FileField(FileType(*names))


def dataset(name: str | None = None, *, remote: str | None = None, title: str | None = None) -> Callable[[C], C]:
    """Mark a class as a dataset, which goes to `remote`: the name of a remote, or a bucket.

    It is called as the class is, unless `name` says else.
    """
    del name, remote, title
    return lambda cls: cls


@overload
def ingest(fn: F, /) -> F: ...
@overload
def ingest() -> Callable[[F], F]: ...
def ingest(fn: F | None = None, /) -> F | Callable[[F], F]:
    """Mark a method that brings records: it returns a list a field, or yields record after record."""
    return fn if fn is not None else lambda found: found


@overload
def derived(fn: F, /) -> F: ...
@overload
def derived(*, version: str | int | None = None) -> Callable[[F], F]: ...
def derived(fn: F | None = None, /, *, version: str | int | None = None) -> F | Callable[[F], F]:
    """Mark a method that makes a field; with a `version`, that alone says when it is to be made again."""
    del version
    return fn if fn is not None else lambda found: found


def delete(fn: F, /) -> F:
    """Mark a method that says which records are dropped: those for which it returns True."""
    return fn


def alter(field: str, /) -> Callable[[F], F]:
    """Mark a method that gives a field of each record another value: what it returns."""
    del field
    return lambda found: found


def was(name: str, /) -> Any:
    """Name what a field was called before.

    Above a method it is a decorator; of a field it stands where a value would: ``label: str = was("name")``.
    """
    return _Was(name)


class _Was:
    """What `was` gives: as a decorator it changes nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, found: Any) -> Any:
        """Return what is decorated."""
        return found


png, jpg, tif, webp, wav, mp3, mp4, json, csv, parquet, npy, txt, pdf, dicom, nifti = map(FileType, FORMATS)

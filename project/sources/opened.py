"""`penstock.open`: a version by its handle, or by a git repository whose project tracks it.

git+https://host/registry.git#raw/01@v1       what the repository tracks at raw/01, at its tag v1
git+file:///srv/registry#raw/01/train         a directory in it, at the HEAD of the repository
"""

from __future__ import annotations

from penstock.api.handles import Handle
from penstock.api.packages.package import Package, open_package
from penstock.errors import UsageError
from penstock.repo.settings.settings import Settings

__all__ = ["open_version"]

_SCHEME = "git+"


def open_version(name: str | Handle, settings: Settings | None = None) -> Package:
    """Open the version that a handle ``bucket/dataset[:ref][/subdir]`` names, or ``git+URL#PATH[@REV]``: a `Package`.

    It is looked up at once. What a repository names is read as far as the user trusts it: see docs/REGISTRY.md.

    UsageError: it is neither. NotFoundError: it names nothing; what is near is named. AccessError,
    StoreUnreachableError: the store refuses, or does not answer.

    >>> import penstock
    >>> with penstock.open("demo/photos:v1") as package:
    ...     package.read("2024/cat.jpg")
    b'cat'
    """
    if not isinstance(name, str) or not name.startswith(_SCHEME):
        return open_package(name, settings)
    from .imports import open_source_path

    url, hash_sign, rest = name.removeprefix(_SCHEME).partition("#")
    path, at, rev = rest.rpartition("@") if "@" in rest else (rest, "", "")
    if not hash_sign or not path or not url or (at and not rev):
        raise UsageError(
            f"{name[:200]!r} names no path of a repository",
            fix="Write git+https://host/registry.git#PATH or …#PATH@REV",
        )
    package = open_source_path(url, path, settings or Settings.load(), rev=rev or None)
    package.find("")
    return package

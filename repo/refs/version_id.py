"""Which version of a dataset: what a ref was found to stand for."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DEFAULT_BRANCH", "VersionId"]

DEFAULT_BRANCH = "main"


@dataclass(frozen=True, slots=True)
class VersionId:
    """Which version: the hash of what it contains, and the id of its commit, 32 bytes each.

    `commit` is None when it was named by its top hash. `ref` is how it was named: two are the same by whatever names.
    """

    top_hash: bytes
    commit: bytes | None
    ref: str = field(default="", compare=False)

    @property
    def known_commit(self) -> bytes:
        """The id of its commit, of a version that has one: that was published, or that a branch or tag stands at."""
        assert self.commit is not None
        return self.commit

"""Who asks, and what they may: the one rule that every request is held against. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.catalogue.orm.dataset import DatasetScope
from penstock.errors import AccessError

__all__ = ["TRUSTED", "Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who signed in. `dataset` is the hash of the one that they may use, empty for all.

    An admin makes datasets and keys; only one of all datasets does so for others than their own.
    """

    name: str
    title: str
    scopes: frozenset[DatasetScope]
    dataset: str = ""
    is_admin: bool = False

    def sees(self, dataset_hash: str) -> bool:
        """Whether a dataset is shown at all."""
        return self.dataset in ("", dataset_hash)

    def require(self, scope: DatasetScope, dataset_hash: str) -> None:
        """AccessError: they may not. What they may not see is told from what is not there by nobody."""
        if not self.sees(dataset_hash):
            raise AccessError("this key does not open that dataset", fix="Ask whoever gave it to you for another one.")
        if scope not in self.scopes:
            raise AccessError(
                f"this key does not allow {scope.name}",
                why=f"it allows {', '.join(sorted(each.name for each in self.scopes)) or 'nothing'}",
                fix="Ask whoever gave it to you for another one.",
            )

    def require_admin(self, dataset_hash: str = "") -> None:
        """AccessError: they are no admin, or not of this dataset; without one, of all."""
        if not self.is_admin or not (self.dataset == "" or (dataset_hash and self.dataset == dataset_hash)):
            raise AccessError("only an admin may do that", fix="Use a key of an admin: penstock key create --admin.")


TRUSTED = Caller("local", "this machine", frozenset(DatasetScope), "", True)
"""Who asks over the loopback interface of a server that was started to trust it."""

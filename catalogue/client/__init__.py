"""Programs of users: the calls of the catalogue, on buckets directly (`Catalogue`) and over HTTP (`UserClient`)."""

from __future__ import annotations

from .catalogue_dataset import Dataset
from .user_client import Catalogue, UserClient

__all__ = ["Catalogue", "Dataset", "UserClient"]

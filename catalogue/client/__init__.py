"""Programs of users: the calls of the catalogue, on buckets directly (`Catalogue`) and over HTTP (`UserClient`)."""

from __future__ import annotations

from .catalogue import Catalogue
from .catalogue_dataset import CatalogueDataset
from .served_dataset import Dataset
from .user_client import UserClient

__all__ = ["Catalogue", "CatalogueDataset", "Dataset", "UserClient"]

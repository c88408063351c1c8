"""Programs of users: the calls of the catalogue on buckets directly."""

from __future__ import annotations

from .catalogue_dataset import CatalogueDataset
from .user_client import Catalogue

__all__ = ["Catalogue", "CatalogueDataset"]

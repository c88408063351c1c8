"""Penstock: versions of datasets in object storage, mounted as plain files."""

__version__ = "0.1.0"

__all__ = ["__version__"]

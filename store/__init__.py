"""Objects by key: the interface, a local directory, S3, a catalogue. The only place that imports boto3."""

from .base import Buffer, ByteRange, ObjectInfo, Store
from .opening import StoreOptions, open_store

__all__ = ["Buffer", "ByteRange", "ObjectInfo", "Store", "StoreOptions", "open_store"]

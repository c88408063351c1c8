"""What a dataset for training makes of a file: functions that processes which are spawned can import."""

from __future__ import annotations

from penstock.api.training.sample import Sample

__all__ = ["decode_text", "key_and_data"]


def decode_text(data: bytes) -> str:
    """Return the text that a file is."""
    return data.decode()


def key_and_data(sample: Sample) -> tuple[str, str]:
    """Return where the file was, and what was decoded of it."""
    return sample.key, sample.data

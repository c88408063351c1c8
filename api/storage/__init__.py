"""Buckets and the block cache: what keeps them clean, whole and usable."""

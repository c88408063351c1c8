"""Versions of datasets in buckets: refs, commits, manifests; push and snapshots; settings and handles."""

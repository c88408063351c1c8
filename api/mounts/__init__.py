"""Versions as plain files: mounts, what a path in one is, and what was changed there."""

"""Changing a mount, and committing it: the rows of `scripts/bench write`."""

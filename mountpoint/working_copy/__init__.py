"""Commit, changes, discard and refresh of a mount, or of an overlay that nobody has mounted: the caller's end."""

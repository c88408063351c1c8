"""Versions beside and after each other: log, comparison, merge, branches."""

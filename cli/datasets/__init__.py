"""Commands that make datasets, or new versions of one from files and from metadata."""

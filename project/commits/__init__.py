"""Declared datasets and git: which versions a commit has, what its work tree shows, what is sent and fetched."""

"""Buckets behind a server of the catalogue, read over HTTP with a key."""

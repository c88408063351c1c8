"""Data rows: what a file is found to be, how a version keeps that, and an index to search."""

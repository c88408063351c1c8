"""Formats in which the entries of a version are written for other tools: one module a format."""

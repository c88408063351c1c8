"""Garbage collection: what no version needs is found and deleted."""

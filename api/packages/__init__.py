"""Versions, read: entries, files, copies, tables, what differs, what is asked of their metadata."""

"""Stores that are reached by the libraries of fsspec: Google Cloud Storage, Azure, and directories over SSH."""

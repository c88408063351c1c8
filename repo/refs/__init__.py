"""Branches and tags of a dataset: how a name leads to a version, how a ref moves, and who may move it."""

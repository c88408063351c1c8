"""Datasets: their history, branches, tags, and the versions that are pushed to them."""

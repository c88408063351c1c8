"""Commands of the catalogue: serve, list, rows, keys, jobs."""

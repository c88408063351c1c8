"""Values that users of the catalogue meet: datasets, rows, keys, jobs."""

"""One bucket, opened: its store, nodes and blocks through the cache, and the processes that fetch for it."""

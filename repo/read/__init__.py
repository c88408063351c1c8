"""One version opened for reading: its nodes and the blocks of its files, from the cache or the bucket."""

"""The catalogue: datasets of buckets to look at, find, curate and share. `penstock serve` runs it."""

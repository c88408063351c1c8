"""Commands of the catalogue: serving buckets, datasets and rows in them, and keys of those who may read them."""

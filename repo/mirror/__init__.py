"""A dataset from bucket to bucket: what is new, the objects it needs, and last the refs that lead to it."""

"""A directory of this machine that follows versions: what changed in it, since it was known last."""

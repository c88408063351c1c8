"""Whether a version in its bucket is what it was when it was published; damage, and its repair."""

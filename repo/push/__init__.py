"""A local directory, or objects where they lie, as the next version of a branch."""

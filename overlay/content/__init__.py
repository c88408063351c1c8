"""The bytes of changed files: data files, the ranges of them that are content, and layers."""

"""Protected branches: what a version has to fit before such a branch moves to it, and who approves of it."""

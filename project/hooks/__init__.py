"""One dispatcher for git's hooks, beside those that are there."""

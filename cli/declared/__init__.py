"""The commands of `git datasets`."""

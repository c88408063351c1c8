"""The commands of a project: a git repository that tracks data."""

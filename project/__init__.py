"""A git repository that tracks data: pointer files, one local bucket, remotes of its own, hooks, trust."""

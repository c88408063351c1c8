"""The merged tree of a mount: what is in it, what changes it, and what was changed."""

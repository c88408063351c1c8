"""Commands about mounts, and about what was changed in them."""

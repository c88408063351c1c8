"""Programs of users: the same calls on a bucket directly, and by way of a server."""

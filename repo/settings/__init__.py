"""What the user has configured: settings, remotes, and handles, the names of buckets, datasets and versions."""

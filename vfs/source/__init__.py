"""What a mounted file system reads from: nodes and blocks, each fetched once however many wait for it."""

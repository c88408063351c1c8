"""Put a version, a part of it, or what a trace lists, into the block cache before it is read."""

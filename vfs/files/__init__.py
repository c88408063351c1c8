"""The file system itself, without a kernel: read-only, and writable with an overlay."""
